"""Any OpenAI-compatible endpoint as an engine.

engine.py        the engine: one stream of tokens over as many responses as it takes
loop_client.py   one event loop's access to the endpoint: its connections and its limit of requests in flight
response.py      one streamed response, read into chunks
resumption.py    the tokens of a stream so far, and the request for the rest
protocol.py      the modes, and the request body of each; pure functions
event_reader.py  the events of a response, read into chunks; nothing malformed passes
probe.py         finding out, once, what an endpoint can do
address.py       an endpoint's URL, key and TLS settings
proxies.py       the proxy of an endpoint
connection.py    the HTTP client
transport.py     the transport below it: adds the secrets, refuses other origins, bounds what comes back
redaction.py     no secret in messages, logs and chained exceptions
http_errors.py   the exceptions of other libraries become ours here
refusals.py      what an endpoint refuses of a request, and the request without it
overflow.py      refusals of a request that is too long, in the words of each server
faults.py        this package's own errors: the transient ones, which are retried, and refusals
retries.py       deadlines, retries and the circuit breaker; knows nothing of HTTP
hedging.py       a second, equal attempt when the first is late
"""

from relay_core.engines.openai.engine import OpenAIEngine

__all__ = ["OpenAIEngine"]
