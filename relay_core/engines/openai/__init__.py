"""Any OpenAI-compatible endpoint as an engine.

engine.py        the engine: one stream of tokens, read from as many responses as necessary
loop_client.py   one event loop's access to the endpoint: its connections and its limit of requests in flight
response.py      reads one streamed response into chunks
resumption.py    the tokens of a stream so far, and the request for the remaining tokens
protocol.py      the modes, and the request body of each mode; pure functions
event_reader.py  reads the events of a response into chunks, and refuses malformed ones
probe.py         finds out once what an endpoint can do
address.py       an endpoint's URL, key and TLS settings
proxies.py       the proxy of an endpoint
connection.py    the HTTP client
transport.py     the transport below the client: adds the secrets, refuses other origins, limits the size of responses
redaction.py     keeps secrets out of messages, logs and chained exceptions
http_errors.py   translates the exceptions of other libraries into ours
refusals.py      the parts of a request that an endpoint refuses, and the request without them
overflow.py      recognises each server's refusal of a request that is too long
faults.py        this package's own errors: transient failures, which are retried, and refusals
retries.py       deadlines, retries and the circuit breaker; independent of HTTP
hedging.py       sends a second, identical request if the first one is late
"""

from relay_core.engines.openai.engine import OpenAIEngine

__all__ = ["OpenAIEngine"]
