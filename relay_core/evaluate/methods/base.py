"""What a method is, and the models that it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay_core.decoding.triggers import Trigger
from relay_core.engines.base import Engine
from relay_core.engines.spec import engine_from_spec
from relay_core.errors import ContextOverflow, TeacherUnavailable
from relay_core.evaluate.answers import settings_values, weights_of
from relay_core.evaluate.identity import identity
from relay_core.evaluate.outcome import Outcome, outcome_of, too_long
from relay_core.evaluate.task import Problem
from relay_core.keys import Role
from relay_core.relay import Relay
from relay_core.settings import RelaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One answer to make.

    ``problem``: what is asked. ``sample``: which of the answers to it this is. ``seed``: the answer's own.
    ``settings``: what the benchmark sets, by the names of :class:`~relay_core.settings.RelaySettings`.
    """

    problem: Problem
    sample: int
    seed: int
    settings: Mapping[str, Any]


class Method(ABC):
    """One way of deciding who writes.

    Attributes:
        spec: the text that names the method, such as ``uncertain:0.4,8``; no two methods of a run have the same.
        label: its name in reports.
        curve: methods with the same curve differ in one number and are joined by a line in the figures.
        sources: the methods whose answers it is made of; these are answered before.
        limit: the most problems that it answers, the first ones of each benchmark; ``None`` means all.
    """

    spec: str
    label: str
    curve: str
    sources: Sequence[Method] = ()
    limit: int | None = None

    @abstractmethod
    def decisive(self, question: Question) -> Any:
        """Everything but the prompt, the seed and the sources that decides an answer, as plain values."""

    @abstractmethod
    async def answer(self, question: Question, by_source: Mapping[str, Outcome]) -> Outcome:
        """Answer.

        Args:
            question: the problem, and how it is to be answered.
            by_source: the outcome of each of ``sources`` for the same question, by the source's spec.

        Raises:
            EngineError: an engine failed.
        """

    @property
    def models(self) -> Sequence[Engine]:
        """The engines that it runs; none for a method that only chooses among the answers of others."""
        return ()


class Decoded(Method):
    """A method that is a relay: a trigger with a student and a teacher.

    Args:
        spec, label, curve: as for every method; the curve is the label by default.
        relay: the models and their settings; without a teacher, the student answers alone.
        written_by: ``"teacher"`` if the relay's student engine is the teacher.
    """

    def __init__(self, spec: str, label: str, relay: Relay, *, written_by: Role = "student", curve: str = "") -> None:
        self.spec, self.label, self.relay, self.written_by = spec, label, relay, written_by
        self.curve = curve or label

    @property
    def models(self) -> Sequence[Engine]:
        return [engine for engine in (self.relay.student, self.relay.teacher) if engine is not None]

    def options(self, question: Question) -> dict[str, Any]:
        """The overrides with which the relay answers a question."""
        options = {**question.settings, "seed": question.seed}
        if self.written_by == "teacher":  # where it has sampling of its own, a benchmark's is the student's
            for name in ("temperature", "top_p", "top_k"):
                if getattr(self.relay.settings, f"teacher_{name}") is not None:
                    options.pop(name, None)
        return options

    def decisive(self, question: Question) -> Any:
        settings = self.relay.settings.merged(self.options(question))
        head = settings.active_trigger.needed_head
        return [
            self.written_by,
            [identity(engine) for engine in self.models],
            settings_values(settings),
            None if head is None else weights_of(head),
        ]

    async def answer(self, question: Question, by_source: Mapping[str, Outcome]) -> Outcome:
        tools = getattr(question.problem, "tools", ()) or None
        try:
            result = await self.relay.agenerate(question.problem.messages, tools=tools, **self.options(question))
        except ContextOverflow:
            return too_long()
        except TeacherUnavailable as error:
            if isinstance(error.__cause__, ContextOverflow):
                return too_long()
            raise
        return outcome_of(result, self.written_by)


class Models:
    """The models of an evaluation; each spec is loaded once.

    Args:
        student: the student that calls.
        teacher: the teacher.
        base: the student that answers alone, such as the student before training; by default the same student, with
            calls refused.
        settings: the settings of every answer.
    """

    def __init__(
        self,
        *,
        student: Engine | str,
        teacher: Engine | str,
        base: Engine | str | None = None,
        settings: RelaySettings | None = None,
    ) -> None:
        self.settings = settings or RelaySettings()
        self._engines: dict[tuple[str, Role], Engine] = {}
        self._owned: list[Engine] = []
        self.student = self.engine(student, "student")
        self.teacher = self.engine(teacher, "teacher")
        self.base = self.student if base is None else self.engine(base, "student")

    def engine(self, model: Engine | str, role: Role) -> Engine:
        """The engine of a spec; an engine is returned as it is.

        Raises:
            ConfigurationError: the spec cannot be used.
        """
        if isinstance(model, Engine):
            return model
        key = (model, role)
        if key not in self._engines:
            built = engine_from_spec(model, role=role)
            built.warns_without_commands = False  # the report says how often each method calls
            same = next((e for e in self._owned if e.spec == built.spec and not built.spec.startswith("openai:")), None)
            if same is None:
                self._owned.append(built)
            self._engines[key] = same or built
        return self._engines[key]

    def replaced(self, changes: Mapping[str, str]) -> Models:
        """The same models but for ``student``, ``teacher`` or ``base``; they share the engines."""
        if not changes:
            return self
        other = object.__new__(Models)
        other.settings, other._engines, other._owned = self.settings, self._engines, self._owned
        chosen: dict[str, Engine] = {"student": self.student, "teacher": self.teacher, "base": self.base}
        for name, spec in changes.items():
            chosen[name] = self.engine(spec, "teacher" if name == "teacher" else "student")
        if "student" in changes and "base" not in changes:
            chosen["base"] = chosen["student"]
        other.student, other.teacher, other.base = chosen["student"], chosen["teacher"], chosen["base"]
        return other

    def alone(self, engine: Engine, *, written_by: Role = "student") -> Relay:
        """A relay of one model, which answers by itself: without instructions, the teacher with its own sampling."""
        settings = replace(self.settings, student_instructions=None, calls=False)
        if written_by == "teacher":
            settings = replace(settings, **self.settings.teacher_sampling)
        return Relay(engine, None, settings)

    def relay(self, student: Engine | None = None, **changes: Any) -> Relay:
        """A relay of a student (by default the one that calls) and the teacher, with changed settings."""
        return Relay(student or self.student, self.teacher, replace(self.settings, **changes))

    def untrained(self, trigger: Trigger) -> Relay:
        """A relay of the untrained student whose calls a trigger opens, without instructions or a limit of calls."""
        return self.relay(self.base, trigger=trigger, student_instructions=None, max_calls=None)

    async def aclose(self) -> None:
        """Close the engines that were built here."""
        for engine in self._owned:
            await engine.aclose()
