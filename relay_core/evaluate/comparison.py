"""Measures student, relay and teacher on a task, and shows the figures in one table.

    compare(task, problems, three_methods(...))    measures the methods, one after the other
    Comparison.headings, .rows(), .text()          the table; `relay demo` draws it with rich, training prints the text
    Comparison.recovered, .verdict()               how much of the gap between student and teacher the relay closes

``measure.py`` measures one method.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay_core.engines.base import Engine
from relay_core.evaluate.measure import Answered, Measured, measure
from relay_core.evaluate.table import aligned
from relay_core.evaluate.task import Problem, Task
from relay_core.keys import Role
from relay_core.relay import Relay
from relay_core.settings import RelaySettings

OnAnswer = Callable[[Answered], None]


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table: a relay, or one model alone (a relay without a teacher).

    ``label`` is the method's name in the table. ``written_by`` is ``"teacher"`` for the teacher alone.
    """

    label: str
    relay: Relay
    written_by: Role = "student"

    async def measure(self, task: Task, problems: Sequence[Problem], *, on_answer: OnAnswer | None = None) -> Measured:
        """Measure the method; raises the errors of :func:`~relay_core.evaluate.measure.measure`."""
        overrides: dict[str, Any] = {"calls": False} if self.relay.teacher is None else {}
        return await measure(self.relay, task, problems, written_by=self.written_by, on_answer=on_answer, **overrides)


def three_methods(*, base: Engine, student: Engine, teacher: Engine, settings: RelaySettings) -> dict[str, Method]:
    """Student alone, relay, and teacher alone.

    Args:
        base: the student that answers alone, such as the student before training.
        student: the student that calls.
        teacher: the teacher, which is also measured alone.
        settings: the settings of every answer.

    Whoever answers alone gets no ``student_instructions``, and the teacher alone gets its own sampling.
    """
    alone = replace(settings, student_instructions=None, calls=False)
    return {
        "student": Method("student alone", Relay(base, None, alone)),
        "relay": Method("relay", Relay(student, teacher, settings)),
        "teacher": Method(
            "teacher alone", Relay(teacher, None, replace(alone, **settings.teacher_sampling)), written_by="teacher"
        ),
    }


async def compare(
    task: Task,
    problems: Sequence[Problem],
    methods: Mapping[str, Method],
    *,
    on_answer: Callable[[str], OnAnswer],
) -> Comparison:
    """Measure methods one after the other on the same problems.

    Args:
        on_answer: called with each method's name before the method is measured; returns a function that is called
            with each of the method's answers.

    Raises:
        EngineError: an engine failed.
    """
    began = time.monotonic()
    measured = {
        name: await method.measure(task, problems, on_answer=on_answer(name)) for name, method in methods.items()
    }
    labels = {name: method.label for name, method in methods.items()}
    return Comparison(measured, labels, seconds=time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Methods measured on the same problems.

    Args:
        methods: the figures of each method, by name, in the order of the table's rows. The relay and the teacher
            alone are named ``relay`` and ``teacher``.
        labels: each method's name in the table.
        seconds: the time that measuring took, including the loading of models.
        student: the name of the student alone, from whose accuracy the gap to ``teacher`` is measured.
    """

    methods: Mapping[str, Measured]
    labels: Mapping[str, str]
    seconds: float
    student: str = "student"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        methods = {name: measured.as_dict() for name, measured in self.methods.items()}
        return {"problems": self.problems, "seconds": self.seconds, "methods": methods}

    @property
    def problems(self) -> int:
        """The number of problems that each method answered."""
        return next(iter(self.methods.values())).problems

    @property
    def recovered(self) -> float | None:
        """(relay - student) / (teacher - student), in accuracy; ``None`` without a relay or without a gap."""
        if "relay" not in self.methods:
            return None
        student, teacher = self.methods[self.student].accuracy, self.methods["teacher"].accuracy
        return (self.methods["relay"].accuracy - student) / (teacher - student) if teacher > student else None

    # -- the table -----------------------------------------------------------------------------------------

    @property
    def groups(self) -> list[str]:
        """The groups of problems, in the task's order."""
        return list(next(iter(self.methods.values())).bands)

    @property
    def headings(self) -> list[str]:
        """The headings of the table's columns; the first one is empty. A heading may be wrapped at a line break."""
        cost = ["cost"] if self._has_cost else []
        return ["", "all", *self.groups, "call\nratio", "calls/\nanswer", "tokens\n/s", *cost]

    def rows(self) -> list[list[str]]:
        """One row per method; shares are in per cent, the cost is that of 1000 answers."""
        return [self._row(name, measured) for name, measured in self.methods.items()]

    def _row(self, name: str, m: Measured) -> list[str]:
        shares = [m.accuracy, *(m.bands[group] for group in self.groups), m.call_ratio]
        calls = "-" if name == "teacher" else f"{m.calls:.2f}"
        row = [self.labels[name], *(f"{share:.1%}" for share in shares), calls, f"{m.tokens_per_s:,.0f}"]
        if self._has_cost:
            row.append("" if m.cost is None else f"{1000 * m.cost / m.problems:.4f}")
        return row

    @property
    def _has_cost(self) -> bool:
        return any(measured.cost is not None for measured in self.methods.values())

    def text(self) -> str:
        """The table and the verdict as plain text."""
        headings = [heading.replace("/\n", "/").replace("\n/", "/").replace("\n", " ") for heading in self.headings]
        return "\n".join([*aligned([headings, *self.rows()]), *self.ungraded(), self.verdict()])

    def ungraded(self) -> list[str]:
        """A line that says how many answers could not be graded; empty if all could."""
        counts = [f"{self.labels[name]} {m.ungraded}" for name, m in self.methods.items() if m.ungraded]
        return [f"Not graded, and in no share of right answers: {', '.join(counts)}."] if counts else []

    def verdict(self) -> str:
        """One line: the share of the gap that the relay recovers, the teacher's share of the tokens, and the time."""
        took = f"All of it took {self.seconds:.0f} s."
        if self.recovered is None:
            return took
        relay = self.methods["relay"]
        first_group = next(iter(relay.called), None)
        called = ""
        if first_group is not None:
            called = f"; it calls on {relay.called[first_group]:.0%} of the {first_group} problems"
        return (
            f"The relay recovers {self.recovered:.0%} of the gap between student and teacher, the teacher writing "
            f"{relay.call_ratio:.1%} of the tokens{called}. {took}"
        )
