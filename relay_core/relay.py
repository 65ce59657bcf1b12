"""``Relay``: a student and the teacher that it calls, with async, blocking and batch methods.

``decoding/`` writes one answer, ``settings.py`` defines the settings, and ``engines/base.py`` defines the engines.
"""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from os import PathLike
from typing import Any, Literal, Self, overload

from relay_core import portal
from relay_core.chat import Conversation
from relay_core.concurrency import map_concurrently
from relay_core.constraint import Constraint
from relay_core.decoding.constrained import applicable
from relay_core.decoding.deadline import OutOfTime, deadline_in, within
from relay_core.decoding.loop import Answer, unanswered
from relay_core.decoding.prompts import Prompts
from relay_core.decoding.triggers import no_top_logprob
from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError, RelayError, attributed_to
from relay_core.events import Event, Finished, RelayResult
from relay_core.keys import Role
from relay_core.settings import RelaySettings

PromptLike = str | Sequence[Mapping[str, Any]] | Conversation


class Relay:
    """A student that leads and a teacher that it calls.

    Args:
        student, teacher: an engine, an engine's spec (``"bundled"``, ``"transformers:PATH_OR_ID"``,
            ``"vllm:PATH_OR_ID"``, ``"openai:MODEL@BASE_URL"``; a bare path or id means ``transformers:``), or the
            ``Path`` of a folder. With ``teacher=None`` every call is refused.
        settings: budgets, sampling, prices. Each setting can be replaced by name for a single answer.

    The relay closes the engines that it built from specs, but not the engines that were passed in.

    A copy of a relay shares its engines. A pickled relay holds the specs and options of its engines, but no model,
    connection or key; unpickling builds new engines and reads the keys from the environment.

    Raises:
        ConfigurationError: a spec or a folder cannot be used; this is checked without loading a model.

    Example:
        >>> relay = Relay()                                     # the bundled pair
        >>> relay.generate("What is 2 + 3?").finish_reason      # doctest: +SKIP
        <FinishReason.STOP: 'stop'>
    """

    def __init__(
        self,
        student: str | PathLike[str] | Engine = "bundled",
        teacher: str | PathLike[str] | Engine | None = "bundled",
        settings: RelaySettings | None = None,
    ) -> None:
        self.settings = settings if settings is not None else RelaySettings()
        if not isinstance(self.settings, RelaySettings):
            raise ConfigurationError(f"settings is a {type(settings).__name__}: write RelaySettings(...)")
        self._owned: list[Engine] = []
        self.student = self._engine(student, "student")
        self.teacher = None if teacher is None else self._engine(teacher, "teacher")

    def _engine(self, engine: str | PathLike[str] | Engine, role: Role) -> Engine:
        if isinstance(engine, Engine):
            return engine
        from relay_core.engines.spec import engine_from_spec

        built = engine_from_spec(engine, role=role)
        self._owned.append(built)
        return built

    def __copy__(self) -> Self:
        """A relay with the same engines; only the original closes them."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self), _owned=[])
        return twin

    def __deepcopy__(self, memo: object) -> Self:
        return copy.copy(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle. Unpickling has built new engines from their specs and options, so this relay closes them."""
        vars(self).update(state)
        self._owned = [engine for engine in (self.student, self.teacher) if engine is not None]

    @property
    def context_length(self) -> int | None:
        """The smaller of the models' context lengths, in tokens; ``None`` if no engine knows its own. Loads nothing."""
        engines = [self.student] if self.teacher is None else [self.student, self.teacher]
        return min((engine.context_length for engine in engines if engine.context_length is not None), default=None)

    # -- async ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load both models now. By default, the first answer loads the student, and the first call the teacher."""
        with attributed_to("student"):
            await self.student.start()
        if self.teacher is not None:
            with attributed_to("teacher"):
                await self.teacher.start()

    async def astream(
        self,
        prompt: PromptLike,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        prefix: str = "",
        constraint: Constraint | None = None,
        settings: RelaySettings | None = None,
        **overrides: Any,
    ) -> AsyncGenerator[Event, None]:
        """Answer one prompt, and yield the events of the answer; the last event is ``Finished``.

        Args:
            prompt: a string (one user message) or a list of ``{"role", "content"}`` messages.
            tools: JSON schemas of the functions that the answer may call, rendered by each model's own template.
            prefix: text with which the answer must begin; ``result.text`` does not contain it.
            constraint: what ``result.text`` is held to, such as ``Constraint.choice("yes", "no")``. A command can then
                stand only where the constraint allows its text.
            settings: the settings of this answer, instead of the relay's settings.
            overrides: settings to replace for this answer, by name (:class:`RelaySettings`).

        Closing the generator cancels the engines' requests.

        Raises:
            ConfigurationError: the prompt or a setting cannot be used, or the student's endpoint cannot continue a
                ``prefix`` or cannot be held to ``constraint``; nothing was generated.
            EngineError: the student failed; ``transcript`` holds the answer so far.
            TeacherUnavailable: the teacher failed and ``on_teacher_error="raise"``.
        """
        settings = (self.settings if settings is None else settings).merged(overrides)
        conversation = Conversation.of(prompt, tools=tools, prefix=prefix, enable_thinking=settings.enable_thinking)
        began, deadline = time.monotonic(), deadline_in(settings.deadline_s)
        try:
            with attributed_to("student"):
                if (head := settings.active_trigger.needed_head) is not None:  # most engines refuse it without a start
                    await within(self.student.check_head(head), deadline)
                await within(self.student.start(), deadline)
                constraint = await within(applicable(constraint, self.student), deadline)
            self._check_prefix(prefix)
            if settings.active_trigger.needs_top_logprob and not self.student.reports_top_logprob:
                raise no_top_logprob(self.student, settings.active_trigger)
            instructions = settings.student_instructions
            prompts = await within(Prompts.render(self.student, self.teacher, conversation, instructions), deadline)
        except OutOfTime:
            yield Finished(unanswered(settings, time.monotonic() - began))
            return
        answer = Answer(self.student, self.teacher, prompts, settings, deadline=deadline, constraint=constraint)
        async with aclosing(answer.run()) as events:
            async for event in events:
                yield event

    def _check_prefix(self, prefix: str) -> None:
        if prefix and not self.student.continues:
            raise ConfigurationError(
                f"the student ({self.student.spec}) cannot be made to begin an answer: its endpoint takes no beginning "
                "(mode chat). A tool call cannot be forced there, nor json_mode or function_calling used: write "
                "tool_choice='auto', method='json_schema', or (RelayLLM) is_function_calling_model=False"
            )

    async def agenerate(self, prompt: PromptLike, **options: Any) -> RelayResult:
        """Answer one prompt; arguments and errors are those of :meth:`astream`."""
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
        """Answer many prompts concurrently; returns the results in the order of the prompts.

        Args:
            prompts: as for :meth:`astream`.
            return_exceptions: return an answer's error in place of its result. Otherwise the first error is raised,
                and the other answers are cancelled.
            max_concurrency: how many answers run at a time; ``None`` starts all answers at once, and the engines queue
                them.
            options: options of :meth:`astream`, for every answer.
        """

        async def answer(prompt: PromptLike) -> RelayResult:
            return await self.agenerate(prompt, **options)

        return await map_concurrently(answer, prompts, limit=max_concurrency, return_exceptions=return_exceptions)

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
        """:meth:`agenerate`, blocking; it also works inside a running event loop."""
        return portal.run(lambda: self.agenerate(prompt, **options))

    def stream(self, prompt: PromptLike, **options: Any) -> Iterator[Event]:
        """:meth:`astream`, blocking; closing the iterator cancels the engines' requests."""
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
