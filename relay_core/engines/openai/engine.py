"""Any OpenAI-compatible endpoint, as student or as teacher: vLLM's server, llama.cpp, hosted APIs.

    OpenAIEngine("Qwen/Qwen3-8B", base_url="http://localhost:8000/v1")

What the endpoint can do is found out once (``endpoint.py``); what is sent and read is in ``wire.py``; waiting,
retrying and giving up in ``steady.py``; the HTTP client in ``connection.py``. Here these meet: one stream of tokens
that is taken up again where a connection broke.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relay_core.engines.base import (
    BreakerState,
    Chunk,
    Engine,
    EngineUsage,
    Finish,
    Prompt,
    Sampling,
    Token,
    Warming,
    Waste,
)
from relay_core.engines.gc_freeze import freeze_imports
from relay_core.engines.in_flight import Load
from relay_core.engines.openai.connection import Address, Connection, Response, ca
from relay_core.engines.openai.probe import Endpoint, probe
from relay_core.engines.openai.protocol import APPROXIMATE, RUNNING_USAGE, Mode, Reader, event_data, request_body
from relay_core.engines.openai.retries import Breaker, BreakerOpen, Fault, Patience, hedged, persist
from relay_core.engines.warmed_stream import hold_until_wanted
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError, MissingExtraError
from relay_core.keys import Role, key_from_environment

if TYPE_CHECKING:
    import ssl

    from pydantic import SecretStr

    from relay_core.tokenizer import Tokenizer

_USAGE_WAIT_S = 2.0  # after the last token, for the usage that follows it


class OpenAIEngine(Engine):
    """A model behind a URL.

    Args:
        model: its name there.
        base_url: such as ``http://localhost:8000/v1``.
        api_key: never shown; ``None`` reads ``OPENAI_API_KEY``, then ``RELAY_TEACHER_API_KEY``; with a role, the role's
            own variable (``RELAY_STUDENT_API_KEY`` or ``RELAY_TEACHER_API_KEY``), then ``OPENAI_API_KEY``.
        role: ``"student"`` or ``"teacher"``, where it is only one of them: for the key, and for errors.
        mode: ``"ids"``, ``"completions"``, ``"chat-continue"`` or ``"chat"`` (approximate); ``"auto"`` takes the
            best that works.
        tokenizer: the model's, as a folder, a hub id or a :class:`~relay_core.tokenizer.Tokenizer`; ids and text
            completions need it. ``None`` takes the one beside the weights, where these are on this machine.
        headers, query: sent with every request.
        verify: ``True``, a CA file in PEM, an ``ssl.SSLContext``, or ``False`` to trust anybody.
        proxy: a proxy's URL; by default as ``httpx`` does (``HTTPS_PROXY``, ``NO_PROXY``, ...).
        logprobs: ask for every token's log-probability (mode ``ids``).
        stream_interval: ask for so many tokens to an event (mode ``ids``); ``None``: one, and up to 8 where many
            requests are under way. The first token never waits.
        patience: deadlines, retries, breaker, hedging; see :class:`~relay_core.engines.openai.retries.Patience`.
        options: any one of ``Patience``'s fields, by name.

    ``breaker`` is the state of its circuit breaker. Safe to use from several event loops.

    Raises:
        ConfigurationError: a URL, mode or option that cannot be used; nothing was sent.
    """

    constrains = True  # until it is found that its mode cannot

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
        if not isinstance(model, str) or not model:
            raise ConfigurationError(f"model is {model!r}: write its name at the endpoint")
        if not isinstance(base_url, str) or not base_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"base_url is {base_url!r}: write http:// or https://, such as http://host:8000/v1"
            )
        if "@" in base_url.partition("://")[2].partition("/")[0]:
            raise ConfigurationError("base_url holds a user name or password: give them in headers=")
        if "?" in base_url:  # it would be shown, and paths are put behind it
            raise ConfigurationError("base_url holds a query: give a key as api_key=, anything else in query=")
        if mode != "auto" and mode not in tuple(Mode):
            raise ConfigurationError(f"mode is {mode!r}: write auto, {', '.join(Mode)}")
        self.spec = f"openai:{model}@{base_url}"
        self.patience = _patience(patience, options)
        self._address = Address(
            model=model,
            base_url=base_url,
            api_key=_secret(api_key, role),
            role=role,
            headers=dict(headers or {}),
            query=dict(query or {}),
            verify=ca(verify),
            proxy=proxy,
        )
        self._mode: Mode | Literal["auto"] = "auto" if mode == "auto" else Mode(mode)
        self._given, self._logprobs, self._load = tokenizer, logprobs, Load(stream_interval)
        self._endpoint: Endpoint | None = None
        self._breaker = Breaker(self.patience.breaker_after, self.patience.breaker_open_s)
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}

    warmable = True

    # -- what is known of it -------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode | None:
        """How it is made to continue a prompt; ``None`` until :meth:`start` has found out."""
        return self._endpoint.mode if self._endpoint is not None else None

    @property
    def breaker(self) -> BreakerState:
        """Whether requests pass: closed, open or half-open."""
        return self._breaker.state

    @property
    def warms(self) -> bool:
        # ids are vLLM's own way; the other ways are hosted APIs' too, which bill what was asked in vain. One that has
        # much to do loses more by what it writes in vain than an answer gains.
        return (self.mode or self._mode) is Mode.IDS and self._load.is_light

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._endpoint.tokenizer if self._endpoint is not None else None

    @property
    def context_length(self) -> int | None:
        return self._endpoint.context_length if self._endpoint is not None else None

    def timed_out(self, reason: str) -> str:
        last = self._breaker.trouble
        self._breaker.failed(last or reason)
        return f"{reason}; the last failure: {last}" if last else reason

    def describe(self) -> dict[str, Any]:
        found = self._endpoint
        return {
            **super().describe(),
            "mode": str(found.mode) if found else None,
            "approximate": found is not None and found.mode is Mode.CHAT,
            "passed_over": {str(mode): why for mode, why in found.tried.items()} if found else {},
            "tokenizer": found.tokenizer.name if found and found.tokenizer else None,
            "breaker": str(self.breaker),
        }

    # -- starting and ending -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Find out what the endpoint can do; once, however many wait for it.

        Raises:
            ConfigurationError: it cannot be used as asked; the message names the setting.
            EngineError: it could not be reached, after the retries.
        """
        if self._endpoint is None:
            with outward():
                await self._find_out()

    async def _find_out(self) -> None:
        here = self._here()
        if here.probing is None or here.probing.done():
            here.probing = asyncio.ensure_future(self._probe(here))
            here.probing.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also if unasked
        try:
            await asyncio.shield(here.probing)
        except asyncio.CancelledError:
            if here.probing.cancelled() and (task := asyncio.current_task()) is not None and not task.cancelling():
                raise EngineError(f"{self.spec} was closed while it was being asked what it can do") from None
            raise

    async def _probe(self, here: _Loop) -> None:
        until = here.loop.time() + self.patience.total_s

        async def steadily(send: Callable[..., Awaitable[Any]], *args: Any) -> Any:
            return await persist(lambda: self._briefly(here, lambda: send(*args)), self.patience, until)

        found = await probe(
            partial(steadily, here.connection.get),
            partial(steadily, here.connection.post),
            partial(steadily, here.connection.drain),
            model=self._address.model,
            mode=self._mode,
            tokenizer=self._given,
        )
        freeze_imports()
        self._adopt(found)

    def _adopt(self, found: Endpoint) -> None:
        self.speaks_ids = found.mode is Mode.IDS
        self.constrains = found.mode is not Mode.COMPLETIONS  # which has no field for a schema that all servers know
        self.continues = found.mode is not Mode.CHAT
        self._endpoint = found

    async def _briefly(self, here: _Loop, request: Callable[[], Awaitable[Any]]) -> Any:
        """One small request, its answer whole."""
        async with here.gate:
            with self._breaker.watching():
                try:
                    async with asyncio.timeout(self.patience.first_token_s):
                        return await request()
                except TimeoutError as late:
                    raise Fault(f"{self._address.base_url}: no answer in {self.patience.first_token_s:g} s") from late

    def _here(self) -> _Loop:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            for other in [other for other in list(self._loops) if other.is_closed()]:
                del self._loops[other]  # its connections went with it
            here = self._loops[loop] = _Loop(loop, Connection(self._address, self.patience), self.patience)
        return here

    async def aclose(self) -> None:
        """Close the connections, those of other event loops included; it may be started again."""
        running = asyncio.get_running_loop()
        for loop, here in list(self._loops.items()):
            del self._loops[loop]
            if loop is running:
                await here.aclose()
            elif not loop.is_closed():
                asyncio.run_coroutine_threadsafe(here.aclose(), loop)
        self._endpoint = None

    # -- streaming -----------------------------------------------------------------------------------------

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, None)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, warming)

    async def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        await self.start()
        assert self._endpoint is not None
        here, endpoint = self._here(), self._endpoint
        length = 0 if prompt.token_ids is None else len(prompt.token_ids)
        if endpoint.mode is Mode.IDS and endpoint.context_length is not None and length >= endpoint.context_length:
            raise ContextOverflow(f"the prompt has {length} tokens, the model's context is {endpoint.context_length}")
        until = here.loop.time() + self.patience.total_s
        if warming is not None and endpoint.mode is not Mode.IDS:
            await self._have_read(here, endpoint, prompt, sampling, until, warming.waste)
            sampling, warming = replace(sampling, max_tokens=await warming.wanted()), None
        chunks = self._steadily(here, endpoint, prompt, sampling, until, warming)
        if warming is not None:
            chunks = hold_until_wanted(chunks, warming, length, read_on=True)
        async with aclosing(chunks):
            with outward():
                async for chunk in chunks:
                    yield chunk

    async def _steadily(
        self, here: _Loop, endpoint: Endpoint, prompt: Prompt, sampling: Sampling, until: float, warming: Warming | None
    ) -> AsyncGenerator[Chunk, None]:
        """One stream over as many responses as it takes."""
        written = _Written(endpoint, prompt, sampling, warmed=warming is not None)
        waste = Waste() if warming is None else warming.waste
        notes: dict[str, Any] = {"approximate": APPROXIMATE} if endpoint.mode is Mode.CHAT else {}

        def beaten() -> None:
            notes["hedged"] = notes.get("hedged", 0) + 1
            waste.add(written.prompt_tokens, None, 0)

        async def attempt() -> _Reading:
            return await hedged(
                lambda: self._open(here, endpoint, written, until),
                self.patience.hedge_after_s,
                _Reading.aclose,
                may=lambda: not here.gate.locked(),
                beaten=beaten,
            )

        while True:
            reading = await persist(attempt, self.patience, until)
            try:
                while True:
                    try:
                        chunk = await reading.next()
                    except Fault as fault:  # broken midway: taken up again from what has come
                        self._breaker.failed(fault.message)
                        written.lost += 1
                        notes["resumed"] = notes.get("resumed", 0) + 1
                        break
                    taken = await written.taken(chunk, reading, notes)
                    if warming is None and waste.requests:
                        taken = replace(taken, waste=replace(waste))
                    yield taken
                    if taken.finish is not None:
                        return
            finally:
                await reading.aclose()

    async def _have_read(
        self, here: _Loop, endpoint: Endpoint, prompt: Prompt, sampling: Sampling, until: float, waste: Waste
    ) -> None:
        """Have the endpoint read the prompt, so that its cache has it: a request for one token, which nobody sees.

        Once, whatever comes of it: the request proper will tell. Where n is counted by the server, no stream can be
        cut as the server would have cut it.
        """
        written = _Written(endpoint, prompt, replace(sampling, max_tokens=1))
        usage = EngineUsage(written.prompt_tokens)
        try:
            reading = await self._open(here, endpoint, written, until)
            try:
                while (chunk := await written.taken(await reading.next(), reading, {})).finish is None:
                    pass
                usage = chunk.usage or usage
            finally:
                await reading.aclose()
        except EngineError:
            pass
        finally:
            if written.sent:
                waste.add(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens or 0)

    async def _open(self, here: _Loop, endpoint: Endpoint, written: _Written, until: float) -> _Reading:
        """One request, up to its first token."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(until):
                    await stack.enter_async_context(here.gate)
                    stack.enter_context(self._load.one_more())
            except TimeoutError as late:
                raise Fault(f"{self.spec}: no turn came: {self.patience.max_in_flight} requests in flight") from late
            with self._breaker.watching():
                written.sent = True
                reading = _Reading(here.loop, self.patience.first_token_s, until)
                body = written.body(self._address.model, logprobs=self._logprobs, load=self._load)
                response = await reading.patiently(here.connection.open(endpoint.dialect.path, body))
                stack.push_async_callback(response.aclose)
                reading.response, reading.reader = response, written.reader()
                await reading.prime()
            reading.stack = stack.pop_all()
            return reading


class _Loop:
    """What belongs to one event loop: its connections and its turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection, patience: Patience) -> None:
        self.loop, self.connection = loop, connection
        self.gate = asyncio.Semaphore(patience.max_in_flight)  # first come, first served
        self.probing: asyncio.Future[None] | None = None

    async def aclose(self) -> None:
        if self.probing is not None:
            self.probing.cancel()
            await asyncio.gather(self.probing, return_exceptions=True)
        await self.connection.aclose()


class _Reading:
    """One open response, its chunks one at a time; the first is there already."""

    response: Response
    reader: Reader

    def __init__(self, loop: asyncio.AbstractEventLoop, silence_s: float, until: float) -> None:
        self._loop, self._silence_s, self._until = loop, silence_s, until
        self._first: Chunk | None = None
        self._error: EngineError | None = None  # met while reading on
        self.stack = AsyncExitStack()

    async def patiently(self, work: Any) -> Any:
        """Await ``work`` for as long as silence is allowed.

        Raises:
            Fault: it took longer.
        """
        when = min(self._loop.time() + self._silence_s, self._until)
        try:
            async with asyncio.timeout_at(when):
                return await work
        except TimeoutError as late:
            which = "the whole answer's time is over" if when == self._until else f"nothing for {self._silence_s:g} s"
            raise Fault(f"the endpoint fell silent: {which}") from late

    async def prime(self) -> None:
        """Wait for the first token, so that whoever has this has something."""
        self._first = await self.patiently(self._until_something())

    async def next(self) -> Chunk:
        """The next chunk that holds anything; a last one brings its usage.

        Raises:
            Fault: the stream broke, fell silent or made no sense.
        """
        if self._first is not None:
            chunk, self._first = self._first, None
        else:
            if self._error is not None:
                raise self._error
            chunk = await self.patiently(self._until_something())
        chunk = await self._all_of(chunk)
        if chunk.finish is not None:
            usage = await self.usage()
            chunk = replace(chunk, usage=usage or chunk.usage)  # the last one knows what was cached
        return chunk

    async def usage(self) -> EngineUsage | None:
        """The usage that follows the last token; reads on to the end, so that the connection can serve again."""
        usage = None
        try:
            async with asyncio.timeout(_USAGE_WAIT_S):
                while (line := await self.response.line()) is not None:
                    chunk = self.reader.read(event_data(line) or {})
                    usage = usage or chunk.usage
                    if chunk.tokens:
                        break
        except (EngineError, TimeoutError):
            pass  # all tokens are here: whatever went wrong after them costs nothing
        return usage

    async def _until_something(self) -> Chunk:
        while True:
            chunk = await self._event()
            if chunk.tokens or chunk.finish is not None:
                return chunk

    async def _all_of(self, chunk: Chunk) -> Chunk:
        """The chunk, and what came with it or has come since, as one; an error among it waits for its turn."""
        while chunk.finish is None and self.response.waiting:
            try:
                more = await self._event()  # does not wait: it is here
            except EngineError as error:
                self._error = error
                break
            chunk = replace(more, tokens=(*chunk.tokens, *more.tokens), usage=more.usage or chunk.usage)
        return chunk

    async def _event(self) -> Chunk:
        """The next line's chunk, which may be empty."""
        line = await self.response.line()
        payload = {} if line is None else event_data(line)
        if payload == {}:
            raise Fault("the stream ended before the answer did")
        return Chunk() if payload is None else self.reader.read(payload)

    async def aclose(self) -> None:
        """Let go of the response and of the turn; unfinished work is cancelled by that."""
        await self.stack.aclose()


class _Written:
    """What has come of one stream so far, over all the responses that it took."""

    def __init__(self, endpoint: Endpoint, prompt: Prompt, sampling: Sampling, *, warmed: bool = False) -> None:
        self._endpoint, self._prompt, self._sampling, self._warmed = endpoint, prompt, sampling, warmed
        self._ids: list[int] = []
        self._texts, self._count = list[str](), 0
        self._before = 0  # the count when this response was asked for
        self._tail = ""  # of the text so far, as long as what a stop string may have begun in
        self._longest_stop = max((len(stop) for stop in sampling.stop), default=0)
        self.sent = False  # whether anything was asked
        self.lost = 0  # responses that broke: each had read the prompt too

    @property
    def prompt_tokens(self) -> int | None:
        """Of the prompt, where its ids are known."""
        return None if self._prompt.token_ids is None else len(self._prompt.token_ids)

    def body(self, model: str, *, logprobs: bool, load: Load) -> dict[str, Any]:
        """What to send for the rest."""
        self._before = self._count
        left = self._sampling.max_tokens - self._count
        body = request_body(
            model,
            self._endpoint.dialect,
            self._prompt,
            self._sampling,
            ids=self._ids,
            text="".join(self._texts),
            left=left,
        )
        if self._endpoint.mode is Mode.IDS:
            if logprobs:
                body["logprobs"] = 0
            if (tokens := load.tokens_per_message(warmed=self._warmed)) > 1:
                body["stream_interval"] = tokens
        return body

    def reader(self) -> Reader:
        """A reader for the rest."""
        context = [*(self._prompt.token_ids or ())[-4:], *self._ids][-4:]
        return Reader(self._endpoint.mode, self._endpoint.tokenizer, context)

    async def taken(self, chunk: Chunk, reading: _Reading, notes: Mapping[str, Any]) -> Chunk:
        """:meth:`take`, with the usage that follows."""
        taken = self.take(chunk, notes)
        if taken.finish is Finish.LENGTH and chunk.finish is None:
            return replace(taken, usage=self.usage(await reading.usage()))  # some say it in an event of its own
        return taken

    def take(self, chunk: Chunk, notes: Mapping[str, Any]) -> Chunk:
        """Count what came; cut it at a stop string and at the number of tokens asked for."""
        taken: list[Token] = []
        finish, said = chunk.finish, self._said(chunk)
        for token in chunk.tokens:
            token, full = (token, False) if said else self._fit(token)
            taken.append(token)
            if token.id is not None:
                self._ids.append(token.id)
            self._texts.append(token.text)
            tail = self._tail + token.text
            self._tail = tail[len(tail) - self._longest_stop :] if len(tail) > self._longest_stop else tail
            if any(stop in tail for stop in self._sampling.stop):
                finish = Finish.STOP
                break
            if full:
                finish = chunk.finish if token is chunk.tokens[-1] and chunk.finish is not None else Finish.LENGTH
                break
        if said:
            self._count = said
            if finish is None and said == self._sampling.max_tokens:
                finish = Finish.LENGTH
        end = chunk.end_token if finish is Finish.END else None
        usage = None
        if finish is not None or self._warmed:  # a warmed stream is cut before its end
            usage = self.usage(chunk.usage)
        return Chunk(tuple(taken), finish, end, usage, dict(notes))

    def _said(self, chunk: Chunk) -> int | None:
        """How many tokens there are with this chunk's, where only text comes and the server keeps count.

        ``None`` where it does not, or says less than can be or more than was asked for: then the texts are encoded
        and counted here.
        """
        if self._endpoint.dialect.stream_options != RUNNING_USAGE or chunk.usage is None or not chunk.tokens:
            return None
        said = self._before + (chunk.usage.completion_tokens or 0)
        characters = max(len(token.text) for token in chunk.tokens)
        least = self._count + max(len(chunk.tokens), characters // self._endpoint.longest_token)
        return said if least <= said <= self._sampling.max_tokens else None

    def _fit(self, token: Token) -> tuple[Token, bool]:
        """The token, or as much of a text as may still come; and whether that was the last."""
        tokenizer, left = self._endpoint.counter, self._sampling.max_tokens - self._count
        if token.id is not None:
            self._count += 1
        else:
            text = token.text[: left * self._endpoint.longest_token]  # more than this is more than n tokens, surely
            ids = [0] if tokenizer is None else tokenizer.encode(text)
            if tokenizer is not None and len(ids) > left:
                text = tokenizer.decode(ids[:left])
            self._count += left if text != token.text else max(1, len(ids))
            token = Token(None, text, token.logprob)
        return token, self._count >= self._sampling.max_tokens

    def usage(self, reported: EngineUsage | None) -> EngineUsage:
        """What all of it used: the prompt once for every response that had read it."""
        ids = self._prompt.token_ids
        read = reported.prompt_tokens if reported is not None else None
        if read is None and ids is not None:
            read = len(ids)
        if read is not None:
            read += self.lost * (len(ids) if ids is not None else 0)
        completion = reported.completion_tokens if reported is not None and not self.lost else None
        count = self._count if completion is None or self._ids else min(completion, self._sampling.max_tokens)
        return EngineUsage(read, reported.cached_tokens if reported is not None else None, count)


@contextmanager
def outward() -> Iterator[None]:
    """Whoever asked learns that it failed; whether another attempt might have mended it is nobody's business there.

    Raises:
        EngineError: in place of a ``Fault`` or ``BreakerOpen``, which is its cause.
    """
    try:
        yield
    except (Fault, BreakerOpen) as error:
        raise EngineError(error.message, role=error.role) from error


def _patience(patience: Patience | None, options: Mapping[str, Any]) -> Patience:
    import dataclasses

    known: Sequence[str] = [f.name for f in dataclasses.fields(Patience)]
    for name in options:
        if name not in known:
            raise ConfigurationError(f"OpenAIEngine has no option {name!r}; of patience there are: {', '.join(known)}")
    return dataclasses.replace(patience or Patience(), **options)


def _secret(api_key: SecretStr | str | None, role: Role | None) -> SecretStr:
    try:
        from pydantic import SecretStr
    except ImportError as error:
        raise MissingExtraError("OpenAIEngine", "openai") from error
    if isinstance(api_key, SecretStr):
        return api_key
    return SecretStr((key_from_environment(role) or "") if api_key is None else api_key)
