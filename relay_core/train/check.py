"""python -m relay_core.train check --recipe R: whether a run will work, found out before anything long starts.

:func:`run` makes a report of lines: ok, a warning, or an error with what to write instead. :func:`quick` is the part
that takes no time, with which every stage begins. ``checks/`` holds the checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core import portal
from relay_core.errors import ConfigurationError, RelayError
from relay_core.train.checks import data, machine, student, trial, values
from relay_core.train.checks.findings import Finding, Inspection, Level
from relay_core.train.recipe import Recipe

CHECKS = (
    *values.CHECKS,
    *data.CHECKS,
    *student.BEFORE_TEACHER,
    *machine.CHECKS,
    trial.TEACHER,
    trial.PASS_RATE,
    *student.AFTER_TEACHER,
    trial.SERVER,
    trial.ROLLOUT,
)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop the run."""
        return [finding for finding in self.findings if finding.level is Level.ERROR]

    def text(self) -> str:
        """One line a finding, and a summary."""
        warnings = sum(finding.level is Level.WARNING for finding in self.findings)
        counts = f"{_counted(len(self.errors), 'error')}, {_counted(warnings, 'warning')}"
        return "\n".join([*map(str, self.findings), counts])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        found = [{"level": str(f.level), "check": f.subject, "text": f.text} for f in self.findings]
        return {"errors": len(self.errors), "findings": found}


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def run(recipe: Recipe, out: Path, world: int = 1) -> Report:
    """Check everything: it reads the problems, starts the models and decodes a few answers.

    Args:
        recipe: the run's values.
        out: the folder of the run; nothing is written.
        world: the number of processes of the run.
    """
    inspection = Inspection(recipe, out, world)
    try:
        return Report(tuple(_findings(inspection)))
    finally:
        if inspection.teacher is not None:
            with suppress(RelayError):
                portal.run(inspection.teacher.aclose)


def _findings(inspection: Inspection) -> Iterator[Finding]:
    """What all checks find; what failed once is not reported again by the checks that need it too."""
    seen: set[str] = set()
    for check in CHECKS:
        for finding in check.run(inspection):
            if finding.level is not Level.ERROR or finding.text not in seen:
                seen.add(finding.text)
                yield finding


def quick(recipe: Recipe, world: int = 1, out: Path = Path()) -> None:
    """Check the recipe's values alone, as every stage does first.

    Raises:
        ConfigurationError: there are errors; the message holds all of them.
    """
    inspection = Inspection(recipe, out, world)
    errors = [f.text for check in values.CHECKS for f in check.run(inspection) if f.level is Level.ERROR]
    if errors:
        raise ConfigurationError("; ".join(errors))
