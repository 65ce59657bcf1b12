"""Any OpenAI-compatible endpoint as an engine.

engine.py       the engine: one stream of tokens over as many responses as it takes
response.py     one streamed response, read into chunks
resumption.py   what has come of a stream so far, and the request for the rest
protocol.py     request bodies and events on the wire; pure functions
probe.py        finding out, once, what an endpoint can do
connection.py   the HTTP client; foreign errors become ours here
retries.py      deadlines, retries, the circuit breaker, hedging; knows nothing of HTTP
"""

from relay_core.engines.openai.engine import OpenAIEngine

__all__ = ["OpenAIEngine"]
