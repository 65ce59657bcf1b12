"""Several endpoints of one model, which take requests in turn; as a teacher, they share the calls of a training run.

    InTurn([OpenAIEngine("Qwen3-8B", "http://a:8000/v1"), OpenAIEngine("Qwen3-8B", "http://b:8000/v1")])

A request goes to the endpoint with the fewest requests in flight. If an endpoint fails after its own retries, it gets
no requests for a while, and the request goes to another endpoint, with the tokens that have arrived. The caller sees an
error only if all endpoints have failed.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from relay_core.constraint import Constraint, Kind
from relay_core.engines.base import LOG, BreakerState, Chunk, Engine, Finish, Prompt, Sampling, Warming
from relay_core.engines.forked import watch_forks
from relay_core.engines.scores import Scorer, Scores
from relay_core.engines.stream_so_far import StreamSoFar
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

REST_S = 30.0
Begin = Callable[[Engine, Prompt, Sampling], AsyncGenerator[Chunk, None]]


def in_turn(engines: Sequence[Engine]) -> Engine:
    """Several engines of one model as one engine; a single engine is returned as it is.

    Raises:
        ConfigurationError: there are no engines.
    """
    return engines[0] if len(engines) == 1 else InTurn(engines)


@dataclass(eq=False)
class Member:
    """One engine, its requests in flight, the number of its latest request, and the time until which it rests."""

    engine: Engine
    in_flight: int = 0
    latest: int = 0
    rests_until: float = 0.0

    @property
    def is_resting(self) -> bool:
        """Whether it failed a moment ago, or lets no request pass."""
        return time.monotonic() < self.rests_until or self.engine.breaker is BreakerState.OPEN


class InTurn(Engine):
    """Engines of one model that take requests in turn.

    Args:
        engines: the engines; all must have the same vocabulary.
        rest_s: seconds for which an engine that failed gets requests only if all others rest too.

    Raises:
        ConfigurationError: there are no engines.
    """

    def __init__(self, engines: Sequence[Engine], *, rest_s: float = REST_S) -> None:
        if not engines:
            raise ConfigurationError("there is no engine to take a turn: write at least one spec")
        self._members, self._rest_s = [Member(engine) for engine in engines], rest_s
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # requests may come from several event loops
        self._has_started = False
        #: the member whose stream each asyncio task has dropped before its first token (see :meth:`timed_out`)
        self._dropped: weakref.WeakKeyDictionary[asyncio.Task[Any], Member] = weakref.WeakKeyDictionary()
        self.spec = ", ".join(engine.spec for engine in engines)
        self.deciding = tuple(option for engine in engines for option in engine.deciding)
        watch_forks(self)

    def forget_parent(self) -> None:
        """In a forked child: no request of the parent's is in flight."""
        self._lock, self._dropped = threading.Lock(), weakref.WeakKeyDictionary()
        for member in self._members:
            member.in_flight = 0

    @property
    def engines(self) -> list[Engine]:
        """The engines, in the given order."""
        return [member.engine for member in self._members]

    # -- what all of them can do; some engines know it only after they have started ------------------------------

    @property
    def constrains(self) -> bool:  # type: ignore[override]  # read-only here
        return all(engine.constrains for engine in self.engines)

    @property
    def constraints(self) -> frozenset[Kind]:
        return frozenset.intersection(*(engine.constraints for engine in self.engines))

    @property
    def resumes_constraints(self) -> bool:  # type: ignore[override]
        return all(engine.resumes_constraints for engine in self.engines)

    @property
    def speaks_ids(self) -> bool:  # type: ignore[override]
        return all(engine.speaks_ids for engine in self.engines)

    @property
    def continues(self) -> bool:  # type: ignore[override]
        return all(engine.continues for engine in self.engines)

    @property
    def reports_top_logprob(self) -> bool:  # type: ignore[override]
        return all(engine.reports_top_logprob for engine in self.engines)

    @property
    def biases_logits(self) -> bool:  # type: ignore[override]
        return all(engine.biases_logits for engine in self.engines)

    @property
    def warmable(self) -> bool:  # type: ignore[override]
        return all(engine.warmable for engine in self.engines)

    @property
    def warms(self) -> bool:
        return all(engine.warms for engine in self.engines)

    @property
    def is_lost_in_fork(self) -> bool:  # type: ignore[override]
        return any(engine.is_lost_in_fork for engine in self.engines)

    @property
    def breaker(self) -> BreakerState:
        """The best state of all: a request passes as long as one engine lets it pass."""
        states = {engine.breaker or BreakerState.CLOSED for engine in self.engines}
        return next(s for s in (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN) if s in states)

    @property
    def tokenizer(self) -> Tokenizer | None:
        return next((engine.tokenizer for engine in self.engines if engine.tokenizer is not None), None)

    @property
    def loaded_tokenizer(self) -> Tokenizer | None:
        return next((e.loaded_tokenizer for e in self.engines if e.loaded_tokenizer is not None), None)

    @property
    def vocabulary(self) -> Tokenizer | None:
        return next((engine.vocabulary for engine in self.engines if engine.vocabulary is not None), None)

    @property
    def context_length(self) -> int | None:
        return min((e.context_length for e in self.engines if e.context_length is not None), default=None)

    async def check_constraint(self, constraint: Constraint) -> None:
        for engine in self.engines:
            await engine.check_constraint(constraint)

    async def check_head(self, folder: str) -> None:
        for engine in self.engines:
            await engine.check_head(folder)

    # -- starting and closing ------------------------------------------------------------------------------------

    async def load(self) -> None:
        await self._on_all(lambda engine: engine.load())

    async def start(self) -> None:
        """Start the engines. Those that cannot be reached rest, and start with a later request.

        Raises:
            ConfigurationError: an engine cannot be used, or two have different vocabularies.
            EngineError: no engine could be started.
        """
        if not self._has_started:
            await self._on_all(lambda engine: engine.start())
            for engine in self.engines:
                self._check_vocabulary(engine)
            self._has_started = True

    async def _on_all(self, work: Callable[[Engine], Awaitable[None]]) -> None:
        """Do something with all engines at once; raises an error only if it fails on all of them."""
        outcomes = await asyncio.gather(*(work(engine) for engine in self.engines), return_exceptions=True)
        errors = [outcome for outcome in outcomes if outcome is not None]
        for member, error in zip(self._members, outcomes, strict=True):
            if isinstance(error, EngineError):
                self._rest(member, error)
            elif error is not None:
                raise error
        if len(errors) == len(self._members):
            raise errors[-1]

    def _check_vocabulary(self, engine: Engine) -> None:
        mine, other = self.tokenizer, engine.tokenizer
        if mine is not None and other is not None and not mine.shares_vocabulary(other):
            raise ConfigurationError(
                f"{self.spec}: {engine.spec} has another vocabulary, so these are not endpoints of one model: list "
                "only endpoints of the same model"
            )

    async def aclose(self) -> None:
        self._has_started = False
        await asyncio.gather(*(engine.aclose() for engine in self.engines))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "in_turn": [engine.describe() for engine in self.engines]}

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), rest_s=self._rest_s), (self.engines,)

    # -- streaming -----------------------------------------------------------------------------------------------

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._stream(lambda engine, *rest: engine.stream(*rest), prompt, sampling)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        return self._stream(lambda engine, *rest: engine.warm_stream(*rest, warming), prompt, sampling, is_warmed=True)

    async def _stream(
        self, begin: Begin, prompt: Prompt, sampling: Sampling, *, is_warmed: bool = False
    ) -> AsyncGenerator[Chunk, None]:
        so_far, task = StreamSoFar(prompt, sampling), asyncio.current_task()
        assert task is not None, "a stream is read in a task"
        self._dropped.pop(task, None)

        def may_move() -> bool:
            return not so_far.tokens or (so_far.can_resume and not is_warmed)

        failed: list[Member] = []
        while True:
            member = self._take(failed)
            with self._turn(member, failed, may_move):
                try:
                    await member.engine.start()
                    self._check_vocabulary(member.engine)
                    async with aclosing(begin(member.engine, *so_far.next_request())) as chunks:
                        async for chunk in chunks:
                            yield so_far.take(chunk)
                            if chunk.finish is not None:
                                return
                    raise EngineError("its stream ended without saying why")
                except (asyncio.CancelledError, GeneratorExit):
                    if not so_far.tokens:
                        self._dropped[task] = member
                    raise
            if so_far.left <= 0:  # the failure came between the last token and the finish
                yield Chunk((), Finish.LENGTH)
                return

    async def scores(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Scores:
        """What the model makes of each of ``ids`` behind a prompt.

        Raises:
            ConfigurationError: an engine does not score texts.
            EngineError: all engines failed.
        """
        failed: list[Member] = []
        while True:
            member = self._take(failed)
            with self._turn(member, failed):
                if not isinstance(member.engine, Scorer):
                    raise ConfigurationError(f"{member.engine.spec} does not score a text: use vLLM")
                return await member.engine.scores(prompt_ids, ids)

    @contextmanager
    def _turn(
        self, member: Member, failed: list[Member], may_move: Callable[[], bool] = lambda: True
    ) -> Iterator[None]:
        """A context for one member's attempt: its failure is noted and suppressed if another one can take over.

        Raises:
            ContextOverflow: the prompt is too long for the model.
            EngineError: it failed, and there is no other member left, or ``may_move`` says no.
        """
        try:
            yield
        except ContextOverflow:
            raise
        except EngineError as error:
            self._rest(member, error)
            failed.append(member)
            if not may_move() or len(self._members) == 1:
                raise
            if len(failed) == len(self._members):
                message = f"all {len(failed)} endpoints failed; the last error: {error.message}"
                raise EngineError(message, role=error.role) from error
        finally:
            with self._lock:
                member.in_flight -= 1

    def _take(self, failed: Sequence[Member]) -> Member:
        """The member for the next request: awake, with the fewest requests, and longest without one."""
        with self._lock:
            left = [member for member in self._members if member not in failed]
            awake = [member for member in left if not member.is_resting] or left
            member = min(awake, key=lambda member: (member.in_flight, member.latest))
            member.in_flight, member.latest = member.in_flight + 1, next(self._numbers)
            return member

    def _rest(self, member: Member, error: EngineError) -> None:
        if len(self._members) > 1 and not member.is_resting:
            LOG.warning("%s failed, and is passed over for %g s: %s", member.engine.spec, self._rest_s, error.message)
        member.rests_until = time.monotonic() + self._rest_s

    def timed_out(self, reason: str) -> str:
        task = asyncio.current_task()
        member = None if task is None else self._dropped.pop(task, None)
        if member is None:
            return reason
        self._rest(member, EngineError(reason))
        return member.engine.timed_out(reason)
