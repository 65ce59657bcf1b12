"""Any OpenAI-compatible endpoint, as student or as teacher: vLLM's server, llama.cpp, hosted APIs.

    OpenAIEngine("Qwen/Qwen3-8B", base_url="http://localhost:8000/v1")

The engine probes the endpoint once, and sends each prompt in the best mode that works. If a connection breaks during an
answer, the engine requests the remaining tokens, and the caller sees one stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relay_core.constraint import Kind
from relay_core.engines.base import BreakerState, Chunk, Engine, Prompt, Sampling, Warming
from relay_core.engines.forked import keep_unused, watch_forks
from relay_core.engines.gc_freeze import freeze_imports
from relay_core.engines.in_flight import RequestsInFlight
from relay_core.engines.openai.address import Address, httpx_verify, secret_key
from relay_core.engines.openai.faults import Fault, RequestRefused
from relay_core.engines.openai.http_errors import at_the_edge, call_at_the_edge
from relay_core.engines.openai.loop_client import LoopClient
from relay_core.engines.openai.probe import Endpoint, probe, settled
from relay_core.engines.openai.prompt_scores import gives_no_scores, prompt_scores
from relay_core.engines.openai.protocol import Mode
from relay_core.engines.openai.refusals import Adjustments
from relay_core.engines.openai.resumed_stream import fill_cache, resumed
from relay_core.engines.openai.resumption import StreamProgress
from relay_core.engines.openai.retries import Breaker, Patience, with_retries
from relay_core.engines.scores import Scores
from relay_core.engines.warmed_stream import hold_until_wanted
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError
from relay_core.keys import Role

if TYPE_CHECKING:
    import ssl

    from pydantic import SecretStr

    from relay_core.tokenizer import Tokenizer


class OpenAIEngine(Engine):
    """A model behind a URL. Safe to use from several event loops.

    Args:
        model: the model's name at the endpoint.
        base_url: the endpoint's URL, such as ``http://localhost:8000/v1``.
        api_key: the key, which is never shown. If it is ``None``, the key is read from the environment: with a role,
            from ``RELAY_STUDENT_API_KEY`` or ``RELAY_TEACHER_API_KEY``, then from ``OPENAI_API_KEY``; without a role,
            from ``OPENAI_API_KEY``, then from ``RELAY_TEACHER_API_KEY``.
        role: ``"student"`` or ``"teacher"`` if the engine serves only in this role. The role selects the key, and
            errors about the key name it.
        mode: ``"ids"``, ``"completions"``, ``"chat-continue"`` or ``"chat"`` (approximate); ``"auto"`` takes the best
            mode that works.
        tokenizer: the model's tokenizer as a folder, a hub id or a :class:`~relay_core.tokenizer.Tokenizer`; the modes
            ``ids`` and ``completions`` need it. ``None`` takes the tokenizer in the model's folder of weights, if this
            folder is on this machine.
        headers: HTTP headers to send with every request.
        query: query parameters to send with every request.
        verify: how to verify TLS certificates: ``True``, a CA file in PEM, an ``ssl.SSLContext``, or ``False`` to
            accept any certificate.
        proxy: the URL of a proxy; with ``None``, ``HTTPS_PROXY``, ``NO_PROXY``, ... are read, as ``httpx`` does.
        logprobs: whether to request the log-probability of every token (mode ``ids``).
        stream_interval: the number of tokens per event to request (mode ``ids``). ``None`` requests one, and up to 8
            while many requests are in flight. The first token is always sent immediately.
        patience: deadlines, retries, circuit breaker and hedging; see
            :class:`~relay_core.engines.openai.retries.Patience`.
        options: fields of ``Patience`` to replace, by name.

    Raises:
        ConfigurationError: a URL, mode or option cannot be used; nothing was sent.
    """

    warmable = True
    constrains = True  # unless probing finds only a mode that cannot constrain
    biases_logits = True  # a server that does not know the field refuses the request, or ignores it
    reports_top_logprob = True  # as far as is known before the first token; the loop checks that one

    def __init__(
        self,
        model: str,
        base_url: str = "https://api.openai.com/v1",
        *,
        api_key: SecretStr | str | None = None,
        role: Role | None = None,
        mode: Mode | Literal["auto", "ids", "completions", "chat-continue", "chat"] = "auto",
        tokenizer: str | Path | Tokenizer | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        verify: bool | str | ssl.SSLContext = True,
        proxy: str | None = None,
        logprobs: bool = False,
        stream_interval: int | None = None,
        patience: Patience | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(patience, Patience | None):
            raise ConfigurationError(f"patience is a {type(patience).__name__}: write Patience(...)")
        if mode != "auto" and mode not in tuple(Mode):
            raise ConfigurationError(f"mode is {mode!r}: write auto, {', '.join(Mode)}")
        self._address = Address(
            model=model,
            base_url=base_url,
            api_key=secret_key(api_key, role),
            role=role,
            headers={} if headers is None else headers,
            query={} if query is None else query,
            verify=httpx_verify(verify),
            proxy=proxy,
        )
        self.spec = self._address.spec
        self.deciding = () if mode == "auto" else (("mode", str(mode)),)
        self.patience = (patience or Patience()).with_options(**options)
        self._chosen_mode: Mode | Literal["auto"] = "auto" if mode == "auto" else Mode(mode)
        self._tokenizer_source, self._logprobs = tokenizer, logprobs
        self._in_flight = RequestsInFlight(stream_interval)
        self._breaker = Breaker(self.patience.breaker_after, self.patience.breaker_open_s)
        self._adjustments = Adjustments()
        self._endpoint: Endpoint | None = None
        self._is_probed = False
        self._clients: dict[asyncio.AbstractEventLoop, LoopClient] = {}
        watch_forks(self)

    @property
    def constraints(self) -> frozenset[Kind]:
        """All kinds in mode ``ids``; JSON schemas in the chat modes and before the start."""
        return frozenset(Kind) if self.mode is Mode.IDS else super().constraints

    # -- what is known of the endpoint ---------------------------------------------------------------------

    @property
    def mode(self) -> Mode | None:
        """How the endpoint is made to continue a prompt; ``None`` before :meth:`start`."""
        return self._endpoint.mode if self._endpoint is not None else None

    @property
    def breaker(self) -> BreakerState:
        return self._breaker.state

    @property
    def warms(self) -> bool:
        # Only vLLM's servers have mode "ids". In the other modes, the endpoint may be a hosted API, which bills wasted
        # tokens. Under load, writing wasted tokens costs the endpoint more time than warming saves.
        return (self.mode or self._chosen_mode) is Mode.IDS and self._in_flight.is_light

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._endpoint.tokenizer if self._endpoint is not None else None

    @property
    def vocabulary(self) -> Tokenizer | None:
        return self._endpoint.counter if self._endpoint is not None else None

    @property
    def context_length(self) -> int | None:
        return self._endpoint.context_length if self._endpoint is not None else None

    def timed_out(self, reason: str) -> str:
        last_failure = self._address.shown(self._breaker.last_failure or "")
        self._breaker.record_failure(last_failure or reason)
        return f"{reason}; the last failure: {last_failure}" if last_failure else reason

    def describe(self) -> dict[str, Any]:
        endpoint = self._endpoint
        return {
            **super().describe(),
            "mode": str(endpoint.mode) if endpoint else None,
            "approximate": endpoint is not None and endpoint.mode is Mode.CHAT,
            "passed_over": {str(mode): reason for mode, reason in endpoint.passed_over.items()} if endpoint else {},
            "tokenizer": endpoint.tokenizer.name if endpoint and endpoint.tokenizer else None,
            "breaker": str(self.breaker),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        address = self._address
        secret = {"headers": address.headers, "query": address.query, "proxy": address.proxy}
        live = {
            "verify": not isinstance(address.verify, bool),
            "tokenizer": not isinstance(self._tokenizer_source, str | Path | None),
        }
        if names := [f"{name}=" for name, is_set in (secret | live).items() if is_set]:
            raise self.not_picklable(f"it was built with {', '.join(names)}")
        options: dict[str, Any] = {
            "role": address.role,
            "mode": self._chosen_mode,
            "tokenizer": self._tokenizer_source,
            "verify": address.verify,
            "logprobs": self._logprobs,
            "stream_interval": self._in_flight.stream_interval,
            "patience": self.patience,
        }
        return partial(type(self), address.model, address.base_url, **options), ()

    # -- starting and ending -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Probe the endpoint, once for all callers.

        Raises:
            ConfigurationError: the endpoint cannot be used with these settings; the message names the setting.
            EngineError: the endpoint could not be reached, after the retries.
        """
        if not self._is_probed:
            await call_at_the_edge(self._address, self._probe_once())

    async def _probe_once(self) -> None:
        client = self._client()
        await client.probe_once(lambda: self._probe(client))

    async def _probe(self, client: LoopClient) -> None:
        deadline = client.loop.time() + self.patience.total_s

        async def question(send: Callable[..., Awaitable[Any]], *args: Any) -> Any:
            attempts = 0

            async def attempt() -> Any:
                nonlocal attempts
                attempts += 1
                is_last = attempts > min(1, self.patience.retries)
                try:
                    return await client.request(
                        lambda: settled(send(*args)) if is_last else send(*args), self.patience.first_token_s
                    )
                except Fault as fault:
                    if isinstance(fault.__cause__, TimeoutError):
                        raise RequestRefused(fault.message) from fault  # a retry would time out again
                    raise

            return await with_retries(attempt, self.patience, deadline)

        endpoint = await probe(
            partial(question, client.connection.get),
            partial(question, client.connection.post),
            partial(question, client.connection.drain),
            model=self._address.model,
            mode=self._chosen_mode,
            tokenizer=self._tokenizer_source,
            adjustments=self._adjustments,
            shown=self._address.shown,
        )
        freeze_imports()
        self._adopt(endpoint)

    def _adopt(self, endpoint: Endpoint) -> None:
        self.speaks_ids = endpoint.mode is Mode.IDS
        self.constrains = endpoint.mode is not Mode.COMPLETIONS  # no field for a schema is common to all servers
        self.continues = endpoint.mode is not Mode.CHAT
        self._endpoint, self._is_probed = endpoint, True

    def _client(self) -> LoopClient:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for other in [other for other in list(self._clients) if other.is_closed()]:
                del self._clients[other]  # its connections were closed with it
            client = LoopClient(
                self._address,
                self.patience,
                self._breaker,
                self._in_flight,
                self._adjustments,
                logprobs=self._logprobs,
            )
            self._clients[loop] = client
        client.patience = self.patience
        return client

    async def aclose(self) -> None:
        """Close the connections of every event loop; running answers end immediately with an ``EngineError``.

        The engine can be started again.
        """
        # The next start probes again. What is known about the endpoint is kept, so that an answer between two requests
        # can continue with the tokenizer that its prompts were made with.
        self._is_probed = False
        running = asyncio.get_running_loop()
        for loop, client in list(self._clients.items()):
            del self._clients[loop]
            if loop is running:
                await call_at_the_edge(self._address, client.aclose())
            elif not loop.is_closed():
                asyncio.run_coroutine_threadsafe(client.aclose(), loop)

    def forget_parent(self) -> None:
        """In a forked child: open new connections, and do not use the parent's."""
        keep_unused(self._clients)
        self._clients = {}

    # -- scoring -------------------------------------------------------------------------------------------

    async def scores(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Scores:
        """What the model makes of each of ``ids`` behind a prompt (``scores.py``); vLLM's server can tell."""
        await self.start()
        endpoint = self._endpoint
        if endpoint is None or endpoint.mode is not Mode.IDS or endpoint.tokenizer is None:
            raise gives_no_scores(self.spec)
        client = self._client()
        address = self._address
        work = partial(prompt_scores, client, endpoint, address.model, self.spec, prompt_ids, ids)
        return await call_at_the_edge(address, client.until_closed(work))

    # -- streaming -----------------------------------------------------------------------------------------

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, None)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, warming)

    def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        return at_the_edge(self._address, self._answer(prompt, sampling, warming))

    async def _answer(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        await self.start()
        client = self._client()
        chunks = await client.until_closed(lambda: self._begin(client, prompt, sampling, warming))
        async with aclosing(chunks):
            while (chunk := await client.until_closed(lambda: anext(chunks, None))) is not None:
                yield chunk

    async def _begin(
        self, client: LoopClient, prompt: Prompt, sampling: Sampling, warming: Warming | None
    ) -> AsyncGenerator[Chunk, None]:
        """Begin an answer; returns its chunks, none of which has been read."""
        endpoint = self._endpoint
        if endpoint is None or not self._is_probed:
            raise EngineError(f"{self.spec} was closed while it answered")
        length = 0 if prompt.token_ids is None else len(prompt.token_ids)
        if endpoint.mode is Mode.IDS and endpoint.context_length is not None and length >= endpoint.context_length:
            raise ContextOverflow(f"the prompt has {length} tokens, the model's context is {endpoint.context_length}")
        deadline = client.loop.time() + self.patience.total_s
        if warming is None:
            return resumed(client, StreamProgress(endpoint, prompt, sampling), deadline)
        if endpoint.mode is Mode.IDS:
            progress = StreamProgress(endpoint, prompt, sampling, warmed=True)
            chunks = resumed(client, progress, deadline, warming.waste)
            return hold_until_wanted(chunks, warming, length, read_on=True)
        # A stream of text cannot be cut afterwards at the number of tokens that the server counts. A separate request
        # therefore makes the endpoint read the prompt now, and the request itself is sent when the number is known.
        prefill = StreamProgress(endpoint, prompt, replace(sampling, max_tokens=1))
        await fill_cache(client, prefill, deadline, warming.waste)
        wanted = replace(sampling, max_tokens=await warming.wanted())
        return resumed(client, StreamProgress(endpoint, prompt, wanted), deadline)
