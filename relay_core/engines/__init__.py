"""Engines, which continue prompts. The loop in ``decoding/`` imports only ``base.py``.

base.py            the protocol: Engine, Prompt, Sampling, Chunk, Token, Warming
spec.py            builds an engine from a string such as `openai:MODEL@BASE_URL`
shared.py          one engine per spec and process, for the plugins and the server
transformers/      a model in this process, on transformers' continuous batching
vllm.py            a model in vLLM, started by this process
openai/            a model behind an OpenAI-compatible endpoint
scripted.py        plays back a script, for tests
wrapped.py         a base class for engines around other engines
in_turn.py         several endpoints of one model, which take requests in turn

Modules that several engines use:

model_folder.py    checks, loads and saves model folders
adapter_folder.py  checks LoRA adapters, and merges them into their base
base_sample.py     recognises the base of an adapter by some of its weights
model_source.py    what a folder or hub id is: a whole model, or an adapter and its base
stream_so_far.py   what a stream has delivered, and the request for the rest of it
vllm_requests.py   what is sent to vLLM for one request, and what comes back
warmed_stream.py   holds back a stream until the number of tokens is known
cross_loop.py      reads an async generator that runs on another event loop
in_flight.py       counts running requests, and decides how many tokens to send at a time
cpu_affinity.py    binds other processes to CPUs
gc_freeze.py       keeps imported modules out of garbage collections

To add an engine, write a subclass of ``Engine`` in a module or folder here; if users are to name it by a spec, add a
scheme to ``spec.py``. To change what goes into or comes out of any engine, subclass ``Wrapped``.
"""
