"""Engines: each continues a prompt. The loop in ``decoding/`` knows ``base.py`` only.

base.py            the protocol: Engine, Prompt, Sampling, Chunk, Token, Warming
spec.py            a string such as `openai:MODEL@BASE_URL` to an engine
shared.py          one engine for each spec in a process, for plugins and the server
transformers/      a model in this process, on transformers' continuous batching
vllm.py            a model in vLLM, started by this process
openai/            a model behind an OpenAI-compatible endpoint
scripted.py        plays back a script, for tests
wrapped.py         a base class for engines around other engines

What several engines use:

model_folder.py    checks, loads and saves model folders
warmed_stream.py   holds back a stream until the number of tokens is known
cross_loop.py      reads an async generator that runs on another event loop
in_flight.py       counts running requests, and how many tokens to send at a time
cpu_affinity.py    binds other processes to CPUs
gc_freeze.py       keeps imported modules out of garbage collections

To add an engine, write a subclass of ``Engine`` in a module or folder here; if users are to name it by a spec, add a
scheme to ``spec.py``. To change what goes into or comes out of any engine, subclass ``Wrapped``.
"""
