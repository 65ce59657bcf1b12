"""The decoding loop: one async generator a request, and its sync and batch faces.

    student's engine streams -> scanner -> command? -> teacher's engine streams at most n tokens -> student again

Every step appends to the transcript and yields an event. A thousand requests are a thousand generators; the
engines batch them, so no request waits for another one's round. What a user may set is in ``settings.py``; what
an engine must do is in ``engines/base.py``; this module knows no concrete engine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Literal, TypeVar, overload

from relay_core import portal
from relay_core.chat import Conversation, encode_text, render, renders_alike
from relay_core.command import CLOSE, Call, CommandScanner, Malformed, Text
from relay_core.decoding.stop_strings import StopFilter, coalesce
from relay_core.decoding.warming import Opening, Warmed
from relay_core.engines.base import Chunk, Engine, EngineUsage, Finish, Prompt, Sampling, Token, Warming, Waste
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError, RelayError, TeacherUnavailable
from relay_core.events import CallEnded, CallStarted, Event, Finished, FinishReason, RelayResult, TextDelta
from relay_core.settings import RelaySettings
from relay_core.transcript import Author, ReaderView, Transcript
from relay_core.usage import Usage

T = TypeVar("T")
LOG = logging.getLogger("relay_core")
ANY = Call(999_999_999, "")  # for whatever number the student may yet write
PromptLike = str | Sequence[Mapping[str, Any]] | Conversation


class Relay:
    """A student that leads and a teacher that it calls.

    Args:
        student, teacher: an engine, or a spec of one (``"bundled"``, ``"transformers:PATH_OR_ID"``,
            ``"vllm:…"``, ``"openai:MODEL@BASE_URL"``; a bare path or id means ``transformers:``).
            ``teacher=None``: every call is refused.
        settings: budgets, sampling, prices; every one can be replaced per call by name.

    Engines built here from a spec are closed with the relay; engines passed in are their owner's.

    Raises:
        ConfigurationError: a spec or a folder that cannot be used; nothing heavy was loaded.

    Example:
        >>> relay = Relay()                                     # the bundled pair
        >>> relay.generate("What is 2 + 3?").finish_reason      # doctest: +SKIP
        <FinishReason.STOP: 'stop'>
    """

    def __init__(
        self,
        student: str | Engine = "bundled",
        teacher: str | Engine | None = "bundled",
        settings: RelaySettings | None = None,
    ) -> None:
        self.settings = settings if settings is not None else RelaySettings()
        if not isinstance(self.settings, RelaySettings):
            raise ConfigurationError(f"settings is a {type(settings).__name__}: write RelaySettings(...)")
        self._owned: list[Engine] = []
        self.student = self._engine(student, "student")
        self.teacher = None if teacher is None else self._engine(teacher, "teacher")

    def _engine(self, engine: str | Engine, role: Literal["student", "teacher"]) -> Engine:
        if isinstance(engine, Engine):
            return engine
        from relay_core.engines.spec import engine_from_spec

        built = engine_from_spec(engine, role=role)
        self._owned.append(built)
        return built

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and answer that both models have room for; ``None`` where neither says. Loads nothing."""
        engines = [self.student] if self.teacher is None else [self.student, self.teacher]
        return min((engine.context_length for engine in engines if engine.context_length is not None), default=None)

    # -- async ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load both models now rather than with the first answer."""
        with _whose("student"):
            await self.student.start()
        if self.teacher is not None:
            with _whose("teacher"):
                await self.teacher.start()

    async def astream(
        self,
        prompt: PromptLike,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        prefix: str = "",
        **overrides: Any,
    ) -> AsyncGenerator[Event, None]:
        """Answer one prompt, event by event; the last one is ``Finished``.

        Args:
            prompt: a string (one user message) or a list of ``{"role", "content"}`` messages.
            tools: JSON schemas of functions on offer, rendered by each model's own template.
            prefix: text with which the answer is made to begin; not part of ``result.text``.
            overrides: any of :class:`RelaySettings`, for this answer.

        Closing the generator cancels the engines' work.

        Raises:
            ConfigurationError: a bad prompt or setting, or a ``prefix`` for a student whose endpoint takes none;
                nothing was generated.
            EngineError: the student failed; ``transcript`` holds the answer so far.
            TeacherUnavailable: the teacher failed and ``on_teacher_error="raise"``.
        """
        settings = self.settings.merged(overrides)
        conversation = Conversation.of(prompt, tools=tools, prefix=prefix)
        with _whose("student"):
            await self.student.start()
        if prefix and not self.student.continues:
            raise ConfigurationError(
                f"the student ({self.student.spec}) cannot be made to begin an answer: its endpoint takes no beginning "
                "(mode chat). A tool call cannot be forced there, nor json_mode or function_calling used: write "
                "tool_choice='auto', method='json_schema', or (RelayLLM) is_function_calling_model=False"
            )
        answer = _Answer(self.student, self.teacher, conversation, settings)
        async with aclosing(answer.run()) as events:
            async for event in events:
                yield event

    async def agenerate(self, prompt: PromptLike, **options: Any) -> RelayResult:
        """Answer one prompt; arguments and errors as :meth:`astream`."""
        async with aclosing(self.astream(prompt, **options)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
        raise RelayError("the stream ended without a result")  # pragma: no cover - run() always finishes

    @overload
    async def abatch(
        self,
        prompts: Sequence[PromptLike],
        *,
        return_exceptions: Literal[False] = False,
        max_concurrency: int | None = None,
        **options: Any,
    ) -> list[RelayResult]: ...

    @overload
    async def abatch(
        self,
        prompts: Sequence[PromptLike],
        *,
        return_exceptions: bool,
        max_concurrency: int | None = None,
        **options: Any,
    ) -> list[RelayResult | BaseException]: ...

    async def abatch(
        self,
        prompts: Sequence[PromptLike],
        *,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        **options: Any,
    ) -> Any:
        """Answer many prompts at once, in order.

        Args:
            return_exceptions: put an answer's error in its place instead of raising the first one (which
                cancels the others).
            max_concurrency: at most so many at a time; ``None`` leaves it to the engines.
        """
        gate = asyncio.Semaphore(max_concurrency or max(1, len(prompts)))

        async def one(prompt: PromptLike) -> RelayResult:
            async with gate:
                return await self.agenerate(prompt, **options)

        tasks = [asyncio.ensure_future(one(prompt)) for prompt in prompts]
        try:
            return await asyncio.gather(*tasks, return_exceptions=return_exceptions)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def aclose(self) -> None:
        """Close the engines that this relay built."""
        for engine in self._owned:
            await engine.aclose()

    async def __aenter__(self) -> Relay:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # -- sync: the same loop, driven from a background event loop -------------------------------------------

    def generate(self, prompt: PromptLike, **options: Any) -> RelayResult:
        """:meth:`agenerate`, blocking; works inside a running event loop too."""
        return portal.run(lambda: self.agenerate(prompt, **options))

    def stream(self, prompt: PromptLike, **options: Any) -> Iterator[Event]:
        """:meth:`astream`, blocking; closing the iterator cancels the engines' work."""
        return portal.iterate(lambda: self.astream(prompt, **options))

    def batch(self, prompts: Sequence[PromptLike], **options: Any) -> list[RelayResult]:
        """:meth:`abatch`, blocking."""
        return portal.run(lambda: self.abatch(prompts, **options))

    def close(self) -> None:
        """:meth:`aclose`, blocking."""
        if self._owned:
            portal.run(self.aclose)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Reads:
    """What one party has read over all its requests."""

    def __init__(self) -> None:
        self.tokens = 0
        self.cached: int | None = 0
        self.first: int | None = None  # tokens of the first prompt

    def add(self, known: int | None, usage: EngineUsage | None) -> None:
        reported = usage.prompt_tokens if usage else None
        tokens = reported if reported is not None else (known or 0)
        self.first = tokens if self.first is None else self.first
        self.tokens += tokens
        cached = usage.cached_tokens if usage else None
        self.cached = None if cached is None or self.cached is None else self.cached + cached


class _Answer:
    """One request: the state that the loop's steps share."""

    def __init__(
        self, student: Engine, teacher: Engine | None, conversation: Conversation, settings: RelaySettings
    ) -> None:
        self.student, self.teacher = student, teacher
        self.conversation, self.settings = conversation, settings
        self.began = time.monotonic()
        self.deadline = None if settings.deadline_s is None else _now() + settings.deadline_s
        tokenizer = student.tokenizer
        if tokenizer is not None:
            self.rendered = rendered = render(tokenizer, conversation)
            ids = rendered.token_ids + (encode_text(tokenizer, conversation.prefix) if conversation.prefix else [])
            self.transcript = Transcript(rendered.text + conversation.prefix, ids, conversation.prefix)
        else:
            self.transcript = Transcript(prefix=conversation.prefix)
        self.scanner = CommandScanner()
        self.stops = StopFilter(settings.stop)
        self.waiting: list[tuple[int, int, int | None]] = []  # student tokens whose text is not decided yet
        self.decided = 0  # characters of the student's own stream that the scanner has decided on
        self.granted: tuple[int, int] | None = None  # (asked for, allowed) of the call to make now
        self.finish: FinishReason | None = None
        self.records: list[CallEnded] = []
        self.student_reads, self.teacher_reads = _Reads(), _Reads()
        self.turns = self.refused = self.malformed = self.failed = 0
        self.notes: dict[str, Any] = {}
        self.teacher_view: ReaderView | None = None
        self.teacher_prompt: tuple[str, list[int]] | None = None
        self.warmed: Warmed | None = None
        self.waste = Waste()

    # -- the loop ------------------------------------------------------------------------------------------

    async def run(self) -> AsyncGenerator[Event, None]:
        try:
            while self.finish is None:
                async with aclosing(self.student_turn()) as turn:
                    async for delta in turn:
                        yield delta
                if self.granted is None:
                    await self.cool()
                elif self.finish is None:
                    async with aclosing(self.call(*self.granted)) as call:
                        async for event in call:
                            yield event
                self.granted = None
        except RelayError as error:
            if isinstance(error, EngineError):
                error.role = error.role or "student"
            error.transcript = self.transcript
            raise
        finally:
            await self.cool()
        for delta in self.shown(self.undecided()) + self.stops.flush():
            yield delta
        if self.stops.hit is not None:
            self.transcript.cut_reader_text(self.stops.kept)
            self.finish = FinishReason.STOP_STRING
        yield Finished(self.result())

    async def student_turn(self) -> AsyncGenerator[TextDelta, None]:
        """The student writes until it calls, ends, or a budget is spent."""
        prompt = self.student_prompt()
        allowed = self.room("student", prompt)
        if allowed <= 0:
            self.finish = FinishReason.LENGTH
            return
        first, taken, usage, read = len(self.transcript), 0, None, True
        notes: Mapping[str, Any] = {}
        self.turns += 1
        try:
            async with aclosing(self.student.stream(prompt, self.student_sampling(allowed))) as chunks:
                while self.finish is None and self.granted is None:
                    chunk = await _next(chunks, self.deadline)
                    tokens = chunk.tokens[: allowed - taken]
                    taken += len(tokens)
                    usage, notes = chunk.usage or usage, chunk.notes or notes
                    deltas = self.take(tokens)
                    await self.warm()
                    for delta in deltas:
                        yield delta
                    if self.stops.hit is not None:
                        self.finish = FinishReason.STOP_STRING
                    elif self.granted is not None:
                        break
                    elif len(tokens) < len(chunk.tokens):
                        self.finish = FinishReason.LENGTH
                    elif chunk.finish is not None:
                        self.end_turn(chunk, taken)
                        break
                    elif taken >= allowed:
                        self.finish = FinishReason.LENGTH
        except _OutOfTime:
            self.finish = FinishReason.DEADLINE
        except ContextOverflow:
            if not len(self.transcript):
                raise
            self.finish, read = FinishReason.LENGTH, False
        finally:
            if read:
                self.student_reads.add(None if prompt.token_ids is None else len(prompt.token_ids), usage)
            self.settle(first, usage)
            self.note("student", notes)

    def end_turn(self, chunk: Chunk, taken: int) -> None:
        """The student's stream ended by itself."""
        if chunk.finish is Finish.END:
            if chunk.end_token is not None and self.transcript.total < self.settings.max_tokens:
                self.transcript.add_student(*chunk.end_token)
            self.finish = FinishReason.STOP
        elif chunk.finish is Finish.LENGTH:
            self.finish = FinishReason.LENGTH
        elif not taken:  # it stopped at the closing tag, where only an open one counts; but something must come
            raise EngineError("it stopped without writing anything", role="student")

    async def call(self, requested: int, n: int) -> AsyncGenerator[Event, None]:
        """The teacher writes at most ``n`` tokens."""
        assert self.teacher is not None
        yield CallStarted(n)
        began, received, error, ended = time.monotonic(), 0, None, False
        cause: Exception | None = None
        timeout = self.settings.teacher_timeout_s
        until = _earlier(self.deadline, None if timeout is None else _now() + timeout)
        first, usage, read = len(self.transcript), None, None
        notes: Mapping[str, Any] = {}
        self.transcript.begin_call()
        try:
            prompt = await self.prepare_teacher(until)
            n = min(n, self.room("teacher", prompt))
            read = prompt
            async with aclosing(await self.ask(prompt, n)) as chunks:
                while received < n and self.stops.hit is None:
                    chunk = await _next(chunks, until)
                    usage, notes = chunk.usage or usage, chunk.notes or notes
                    tokens = chunk.tokens[: n - received]
                    received += len(tokens)
                    for delta in self.take_teacher(tokens):
                        yield delta
                    if chunk.finish is not None:
                        ended = chunk.finish is Finish.END and len(tokens) == len(chunk.tokens)
                        break
        except _OutOfTime as late:
            cause = late
            if until == self.deadline:
                self.finish, error = FinishReason.DEADLINE, "the answer's deadline passed"
            else:
                error = f"no complete answer within {timeout} s"
                error = error if received else self.teacher.given_up(error)
        except RelayError as failure:
            cause, error = failure, failure.message if isinstance(failure, EngineError) else str(failure)
            error = error.removeprefix("teacher: ")  # whose it is, is said where it is told
            if isinstance(failure, ContextOverflow):
                read = None
        finally:
            await self.cool()
            if read is not None:
                self.teacher_reads.add(None if read.token_ids is None else len(read.token_ids), usage)
            self.settle(first, usage)
            self.note("teacher", notes)
            tokenizer = self.student.tokenizer if self.student.speaks_ids else None
            self.transcript.end_call(
                shared=self.shared, encode=None if tokenizer is None else partial(encode_text, tokenizer)
            )
        received = self.transcript.count(Author.TEACHER) - sum(r.received for r in self.records)
        seconds = time.monotonic() - began
        self.records.append(CallEnded(requested, received, seconds, error, self.teacher.breaker))
        self.failed += error is not None
        if self.finish is not FinishReason.DEADLINE and self.settings.on_teacher_error == "continue":
            _log_call(self.teacher, error)
        yield self.records[-1]
        if error is not None and self.finish is None and self.settings.on_teacher_error == "raise":
            raise TeacherUnavailable(error, transcript=self.transcript) from cause
        if self.stops.hit is not None:
            self.finish = FinishReason.STOP_STRING
        elif ended and self.settings.on_teacher_stop == "finish":
            self.finish = FinishReason.TEACHER_STOP

    # -- warming -------------------------------------------------------------------------------------------

    async def warm(self) -> None:
        """Have the teacher begin where a command is open; drop what it began for one that is none any more."""
        if self.granted is not None or self.stops.hit is not None:
            return
        opened = self.scanner.is_open
        if self.warmed is not None and not (opened and self.warmed.at == self.decided):
            await self.cool()
        if self.warmed is None and opened and self.warms and self.grant(ANY):
            self.warmed = Warmed(self.decided, partial(self.begin, self.decided, self.grant(ANY)))

    @property
    def warms(self) -> bool:
        """Whether the teacher is to be warmed."""
        teacher, asked = self.teacher, self.settings.warming
        return teacher is not None and teacher.warmable and (asked == "on" or (asked == "auto" and teacher.warms))

    async def begin(self, at: int, most: int, warming: Warming) -> Opening:
        """The teacher's stream for a command that begins at character ``at`` of the student's own."""
        assert self.teacher is not None
        prompt = await self.prepare_teacher(self.deadline, at)
        sampling = self.teacher_sampling(min(most, self.room("teacher", prompt)), warming)
        return prompt, self.teacher.stream(prompt, sampling)

    async def ask(self, prompt: Prompt, n: int) -> AsyncGenerator[Chunk, None]:
        """The teacher's stream for a call: the warmed one, if it was asked just this."""
        assert self.teacher is not None
        if self.warmed is not None and self.warmed.prompt == prompt:
            return self.warmed.stream(n)
        await self.cool()
        return self.teacher.stream(prompt, self.teacher_sampling(n))

    async def cool(self) -> None:
        """End what was begun for a command."""
        warmed, self.warmed = self.warmed, None
        if warmed is not None:
            failure = await warmed.drop()
            failed = isinstance(failure, RelayError) and not isinstance(failure, ContextOverflow)
            if failed and warmed.prompt is not None and not warmed.is_wanted:  # else the call counts it as its own
                self.waste.add(len(warmed.prompt.token_ids or ()), None, 0)

    # -- what the student wrote ----------------------------------------------------------------------------

    def take(self, tokens: Sequence[Token]) -> list[TextDelta]:
        """Append student tokens up to the first granted call; what the reader may see of them now."""
        deltas: list[TextDelta] = []
        for token in tokens:
            self.transcript.add_student(*token)
            text = token.text
            if not self.waiting and not self.scanner.held and text and "<" not in text:
                self.decided += len(text)
                ids = () if token.id is None else (token.id,)
                deltas += self.stops.feed(TextDelta(Author.STUDENT, text, ids))
            else:
                self.waiting.append((self.transcript.student_offset, len(self.transcript) - 1, token.id))
                deltas += self.scan(token)
            if self.granted is not None or self.stops.hit is not None:
                break
        return coalesce(deltas)

    def scan(self, token: Token) -> list[TextDelta]:
        """Feed one token's text to the scanner."""
        deltas: list[TextDelta] = []
        pieces = self.scanner.feed(token.text)
        for i, piece in enumerate(pieces):
            if isinstance(piece, Text):
                deltas += self.shown(piece.text)
                continue
            deltas += self.hidden(piece.source)
            if isinstance(piece, Malformed):
                self.malformed += 1
            elif self.granted is not None or (n := self.grant(piece)) <= 0:  # one token makes one call
                self.refused += 1
            else:
                self.granted = (piece.n, n)
                if token.id is None:  # only text has no whole tokens: what ran on past the command is undone
                    rest = "".join(map(_source, pieces[i + 1 :])) + self.undecided()
                    self.transcript.drop_tail(len(rest))
                    self.waiting.clear()
                    break
        if self.granted is not None:
            deltas += self.shown(self.undecided())
        return deltas

    def hidden(self, source: str) -> list[TextDelta]:
        """Student text that is decided to be a command; what stood before it and had no text is shown first."""
        deltas = self.shown("")
        self.transcript.mark_command(self.decided, self.decided + len(source))
        self.decided += len(source)
        self.waiting = [w for w in self.waiting if w[0] > self.decided]
        return deltas

    def shown(self, text: str) -> list[TextDelta]:
        """Student text that is decided to be ordinary."""
        self.decided += len(text)
        ids = []
        while self.waiting and self.waiting[0][0] <= self.decided:
            _, index, token_id = self.waiting.pop(0)
            if token_id is not None and not self.transcript.is_command(index):
                ids.append(token_id)
        return self.stops.feed(TextDelta(Author.STUDENT, text, tuple(ids))) if text or ids else []

    def undecided(self) -> str:
        """What the scanner holds back; no command comes of it any more."""
        return "".join(_source(piece) for piece in self.scanner.flush())

    def grant(self, call: Call) -> int:
        """Tokens that the budgets allow this call; 0 refuses it."""
        s = self.settings
        if not s.calls or self.teacher is None or (s.max_calls is not None and len(self.records) >= s.max_calls):
            return 0
        limits = [call.n, s.max_tokens - self.transcript.total]
        if s.max_call_tokens is not None:
            limits.append(s.max_call_tokens)
        if s.max_teacher_tokens is not None:
            limits.append(s.max_teacher_tokens - self.transcript.count(Author.TEACHER))
        return max(0, min(limits))

    # -- what the teacher wrote ----------------------------------------------------------------------------

    def take_teacher(self, tokens: Sequence[Token]) -> list[TextDelta]:
        deltas: list[TextDelta] = []
        for token in tokens:
            self.transcript.add_teacher(*token)
            ids = () if token.id is None else (token.id,)
            deltas += self.stops.feed(TextDelta(Author.TEACHER, token.text, ids))
            if self.stops.hit is not None:
                break
        return coalesce(deltas)

    async def prepare_teacher(self, until: float | None, at: int | None = None) -> Prompt:
        """The teacher's own template around the messages, then the reader's text so far; ``at``: as if a command
        began at this character of the student's own stream."""
        assert self.teacher is not None
        await _in_time(self.teacher.start(), until)
        tokenizer, text = self.teacher.tokenizer, self.conversation.prefix + self.transcript.visible_text(end=at)
        if tokenizer is None:
            return self.messages_prompt("", None, text, len(self.records))
        if self.teacher_view is None or self.teacher_prompt is None:
            mine = self.student.tokenizer
            alike = mine is not None and renders_alike(mine, tokenizer)
            rendered = self.rendered if alike else render(tokenizer, self.conversation)
            self.teacher_prompt = (rendered.text, rendered.token_ids)
            self.teacher_view = ReaderView(
                partial(encode_text, tokenizer), tokenizer.spells if self.shared else None, self.conversation.prefix
            )
        prompt_text, prompt_ids = self.teacher_prompt
        view = self.teacher_view
        ids = prompt_ids + (view.update(self.transcript) if at is None else view.foresee(self.transcript, at))
        return self.messages_prompt(prompt_text + text, ids, text, len(self.records))

    # -- prompts and budgets -------------------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        """Whether ids travel between the two untouched."""
        mine = self.student.tokenizer if self.student.speaks_ids else None
        return mine is not None and self.teacher is not None and mine.shares_vocabulary(self.teacher.tokenizer)

    def messages_prompt(self, text: str, token_ids: Sequence[int] | None, continuation: str, turn: int) -> Prompt:
        return Prompt(text, token_ids, self.conversation.messages, continuation, self.conversation.tools or None, turn)

    def student_prompt(self) -> Prompt:
        written = self.transcript.student_text
        has_ids = self.student.tokenizer is not None and self.student.speaks_ids
        ids = [*self.transcript.prompt_ids, *self.transcript.student_ids] if has_ids else None
        text, continuation = self.transcript.prompt_text + written, self.conversation.prefix + written
        return self.messages_prompt(text, ids, continuation, self.turns)

    def room(self, role: Literal["student", "teacher"], prompt: Prompt) -> int:
        """Tokens that may still be written: by max_tokens, and by the engine's context. More than 0, but for a
        student that has written before.

        Raises:
            ContextOverflow: the prompt alone fills the context.
        """
        left = self.settings.max_tokens - self.transcript.total
        engine = self.student if role == "student" else self.teacher
        assert engine is not None
        if engine.context_length is None or prompt.token_ids is None:
            return left
        space = engine.context_length - len(prompt.token_ids)
        if space <= 0 and (role == "teacher" or not len(self.transcript)):
            raise ContextOverflow(
                f"the prompt has {len(prompt.token_ids)} tokens, the model's context is {engine.context_length}"
            )
        return min(left, space)

    def student_sampling(self, max_tokens: int) -> Sampling:
        s = self.settings
        stop = (CLOSE,) if self.grant(ANY) else ()  # where no call can come, no need to stop
        return Sampling(max_tokens, s.temperature, s.top_p, s.top_k, self.seed(7919, len(self.transcript)), stop)

    def teacher_sampling(self, max_tokens: int, warming: Warming | None = None) -> Sampling:
        s = self.settings
        temperature = s.temperature if s.teacher_temperature is None else s.teacher_temperature
        seed = self.seed(104_729, len(self.records) + 1)
        return Sampling(max_tokens, temperature, s.top_p, s.top_k, seed, warming=warming, waste=self.waste)

    def seed(self, step: int, number: int) -> int | None:
        """A seed of its own for every request of an answer: the same one again would repeat the same draws. What a
        call gets does not depend on when it is asked."""
        return None if self.settings.seed is None else self.settings.seed + step * number

    def note(self, role: str, notes: Mapping[str, Any]) -> None:
        """Keep what a stream had to say; counts are added up."""
        for name, value in notes.items():
            before = self.notes.get(f"{role}_{name}", 0)
            self.notes[f"{role}_{name}"] = before + value if isinstance(value, int) else value

    def settle(self, first: int, usage: EngineUsage | None) -> None:
        if usage is not None and usage.completion_tokens is not None:
            self.transcript.settle(first, usage.completion_tokens)

    def result(self) -> RelayResult:
        t = self.transcript
        usage = Usage(
            prompt_tokens=len(t.prompt_ids) or self.student_reads.first or 0,
            student_tokens=t.count(Author.STUDENT),
            command_tokens=t.count(Author.COMMAND),
            teacher_tokens=t.count(Author.TEACHER),
            teacher_prompt_tokens=self.teacher_reads.tokens,
            teacher_cached_tokens=self.teacher_reads.cached,
            student_prompt_tokens=self.student_reads.tokens,
            student_cached_tokens=self.student_reads.cached,
            calls=len(self.records),
            refused_calls=self.refused,
            failed_calls=self.failed,
            malformed_calls=self.malformed,
            wasted_requests=self.waste.requests,
            wasted_prompt_tokens=self.waste.prompt_tokens,
            wasted_cached_tokens=self.waste.cached_tokens,
            wasted_tokens=self.waste.tokens,
        )
        assert self.finish is not None
        return RelayResult(
            text=t.reader_text,
            segments=t.segments,
            usage=usage,
            finish_reason=self.finish,
            calls=self.records,
            seconds=time.monotonic() - self.began,
            transcript=t,
            prices=self.settings.prices,
            notes=self.notes,
            breaker=None if self.teacher is None else self.teacher.breaker,
        )


@contextmanager
def _whose(role: Literal["student", "teacher"]) -> Iterator[None]:
    """Errors of an engine say whose it is."""
    try:
        yield
    except EngineError as error:
        error.role = error.role or role
        raise


def _log_call(teacher: Engine, error: str | None) -> None:
    """One warning when a teacher begins to fail; what follows until a call succeeds is told at level INFO."""
    if error is not None:
        level = logging.INFO if teacher.failing else logging.WARNING
        LOG.log(level, "a call of the teacher failed, the student goes on alone: %s: %s", teacher.spec, error)
    teacher.failing = error is not None


def _now() -> float:
    return asyncio.get_running_loop().time()


def _earlier(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else min(a, b)


class _OutOfTime(Exception):
    """A budget of seconds is spent."""


async def _next(chunks: AsyncGenerator[Chunk, None], until: float | None) -> Chunk:
    """The next chunk.

    Raises:
        _OutOfTime: it did not come until then (the loop's time).
        EngineError: the stream is over, though no chunk said so.
    """
    if until is None:
        chunk = await anext(chunks, None)
    elif _now() >= until:  # an engine that never waits would never be interrupted
        raise _OutOfTime
    else:
        chunk = await _in_time(anext(chunks, None), until)
    if chunk is None:
        raise EngineError("its stream ended without saying why")
    return chunk


async def _in_time(work: Awaitable[T], until: float | None) -> T:
    if until is None:
        return await work
    try:
        async with asyncio.timeout_at(until) as limit:
            return await work
    except TimeoutError as error:
        if limit.expired():
            raise _OutOfTime from error
        raise


def _source(piece: Text | Call | Malformed) -> str:
    return piece.text if isinstance(piece, Text) else piece.source
