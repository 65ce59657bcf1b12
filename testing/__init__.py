"""What tests and benchmarks share, and no user installs.

servers.py            real OpenAI-compatible servers on loopback, and the tiny model that they serve
fixtures.py           a pytest plugin: these servers as fixtures, one of each a session
faulty_proxy.py       a proxy that delays, cuts and bends what passes; the ways to do so are in faults.py
scripted_server.py    an OpenAI-compatible server that plays a script
loopback.py           a server of raw bytes on loopback
tool_call_ids.py      results without the random parts of their tool calls' ids
streams.py            an engine's stream, read to its end
grammar.py            the grammar of the command, written a second time
tasks.py              small tasks
tiny_transformers.py  small random models for the transformers engine
"""
