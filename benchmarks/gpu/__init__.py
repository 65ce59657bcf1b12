"""The project on a GPU: one script that runs everything worth seeing, within ten minutes (README.md).

run.py           runs the steps in the order of their worth, each in a process of its own with a time limit
demo.py          `relay demo` in float32 and bfloat16
transcripts.py   greedy float32 answers, compared with the CPU's (transcripts.json) token by token
unit_tests.py    the tests marked `gpu`
pairs.py         speed of Qwen3-shaped pairs with random weights; shapes.py builds the models
step_trace.py    what a decode step costs beside the model
results.py       how a step reports its results
wheels.py        downloads the packages that the GPU machine lacks
"""
