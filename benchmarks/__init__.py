"""Benchmarks: one script per question, run as ``python benchmarks/NAME.py``; docs/benchmarks.md explains the figures.

Scripts
    decode.py        how near the relay comes to the speed of its two models; what a hand-over costs
    serving.py       the relay over two real vLLM servers, against each model alone and against lock-step rounds
    streams.py       hundreds of streams through one process: are all answers right, and does memory stay constant?
    plugins.py       the time that LangChain and LlamaIndex add to that of the relay itself
    startup.py       how long imports and ``relay --help`` take
    windows.py       what a hand-over costs behind a long context, with sliding windows and without
    random_pair.py   writes a pair of models with random weights, for decode.py and serving.py
    try_extras.py    the wheel with each extra in an empty environment: does it answer as the docs say?
    gpu/run.py       everything that needs a GPU, in ten minutes (gpu/README.md)

Modules that scripts share
    command_line.py      the options that several scripts have; printing the result, and the exit status
    scheduled_calls.py   engines that call the teacher on a schedule, regardless of what their model writes
    lockstep.py          the published loop: rounds of blocking batch requests

The name of each other module begins with the name of its script. A module must not have the name of a module of the
standard library, because Python puts this folder first on the path when it runs a script.
"""
