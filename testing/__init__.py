"""Code that tests and benchmarks share; it is not installed for users.

servers.py            real OpenAI-compatible servers on loopback, and the tiny model that they serve
fixtures.py           a pytest plugin: these servers as fixtures, each started once per session
faulty_proxy.py       a proxy that delays, cuts and changes responses; faults.py defines the faults
scripted_server.py    an OpenAI-compatible server that plays back a script
loopback.py           a server of raw bytes on loopback
tool_call_ids.py      removes the random parts of tool call ids from results
streams.py            reads an engine's stream to its end
grammar.py            a second, independent implementation of the command's grammar
tasks.py              small tasks
tiny_transformers.py  small random models for the transformers engine
adapters.py           random LoRA adapters
"""
