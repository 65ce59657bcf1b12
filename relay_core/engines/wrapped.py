"""A base class for engines that wrap another engine, in order to change its input or its output."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from relay_core.engines.base import BreakerState, Chunk, Engine, Prompt, Sampling, Warming

if TYPE_CHECKING:
    from relay_core.constraint import Constraint, Kind
    from relay_core.tokenizer import Tokenizer


class Wrapped(Engine):
    """Forwards everything to the engine ``inner``. Subclasses override :meth:`stream`.

    This engine lets no request write more than 64 tokens::

        from dataclasses import replace

        from relay_core import Relay, ScriptedEngine, Wrapped

        class Capped(Wrapped):
            async def stream(self, prompt, sampling):
                capped = replace(sampling, max_tokens=min(64, sampling.max_tokens))
                async for chunk in self.inner.stream(prompt, capped):
                    yield chunk

        student = Capped(ScriptedEngine("word " * 100))
        result = Relay(student, teacher=None).generate("Write.")

    Args:
        inner: the engine to wrap. Starting and closing this engine starts and closes ``inner``.

    A subclass that overrides ``stream`` is not ``warmable``, since ``inner.warm_stream`` would bypass the override. It
    is ``warmable`` again if it also overrides :meth:`warm_stream`.
    """

    def __init__(self, inner: Engine) -> None:
        self.inner = inner

    # Read from `inner` each time, because the engine of an endpoint knows some of these only after it has started.

    @property
    def spec(self) -> str:  # type: ignore[override]  # read-only here
        return self.inner.spec

    @property
    def deciding(self) -> tuple[tuple[str, str], ...]:  # type: ignore[override]
        return self.inner.deciding

    @property
    def constrains(self) -> bool:  # type: ignore[override]
        return self.inner.constrains

    @property
    def constraints(self) -> frozenset[Kind]:
        return self.inner.constraints

    @property
    def resumes_constraints(self) -> bool:  # type: ignore[override]
        return self.inner.resumes_constraints

    async def check_constraint(self, constraint: Constraint) -> None:
        await self.inner.check_constraint(constraint)

    async def load(self) -> None:
        await self.inner.load()

    async def check_head(self, folder: str) -> None:
        await self.inner.check_head(folder)

    @property
    def speaks_ids(self) -> bool:  # type: ignore[override]
        return self.inner.speaks_ids

    @property
    def continues(self) -> bool:  # type: ignore[override]
        return self.inner.continues

    @property
    def reports_top_logprob(self) -> bool:  # type: ignore[override]
        return self.inner.reports_top_logprob

    @property
    def biases_logits(self) -> bool:  # type: ignore[override]
        return self.inner.biases_logits

    @property
    def warmable(self) -> bool:  # type: ignore[override]
        own = type(self)
        overrides_stream_alone = own.stream is not Wrapped.stream and own.warm_stream is Wrapped.warm_stream
        return self.inner.warmable and not overrides_stream_alone

    @property
    def warms(self) -> bool:
        return self.inner.warms

    @property
    def breaker(self) -> BreakerState | None:
        return self.inner.breaker

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.inner.tokenizer

    @property
    def loaded_tokenizer(self) -> Tokenizer | None:
        return self.inner.loaded_tokenizer

    @property
    def vocabulary(self) -> Tokenizer | None:
        return self.inner.vocabulary

    @property
    def context_length(self) -> int | None:
        return self.inner.context_length

    async def start(self) -> None:
        await self.inner.start()

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self.inner.stream(prompt, sampling)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        return self.inner.warm_stream(prompt, sampling, warming)

    def timed_out(self, reason: str) -> str:
        return self.inner.timed_out(reason)

    def call_ended(self, error: str | None) -> None:
        self.inner.call_ended(error)

    @property
    def warns_without_commands(self) -> bool:
        return self.inner.warns_without_commands

    @warns_without_commands.setter
    def warns_without_commands(self, value: bool) -> None:
        self.inner.warns_without_commands = value

    def answer_ended(self, *, commands: int) -> None:
        self.inner.answer_ended(commands=commands)

    @property
    def is_lost_in_fork(self) -> bool:  # type: ignore[override]
        return self.inner.is_lost_in_fork

    async def aclose(self) -> None:
        await self.inner.aclose()

    def describe(self) -> dict[str, Any]:
        return {**self.inner.describe(), "wrapped_by": type(self).__name__}
