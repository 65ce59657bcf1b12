"""What both plugins know about a relay before it answers: its name, and whether its student can call tools."""

from __future__ import annotations

from relay_core.engines.base import Engine
from relay_core.engines.spec import Scheme
from relay_core.relay import Relay


def relay_specs(relay: Relay) -> dict[str, str | None]:
    """The specs of a relay's engines by role; the teacher's is ``None`` if there is no teacher."""
    return {"student": relay.student.spec, "teacher": None if relay.teacher is None else relay.teacher.spec}


def relay_name(student: str, teacher: str | None) -> str:
    """The name of a relay, composed of its engines' specs.

    Frameworks sum usage by the name of the model and look up its prices by this name. A relay's tokens come from two
    models, so the relay must not have the name of one of them.
    """
    return student if teacher is None else f"{student} + {teacher}"


def calls_tools(student: Engine) -> bool:
    """Whether tools may be offered to a student: to all but the bundled ones, which were not trained for tools."""
    return student.spec.partition(":")[0] != Scheme.BUNDLED
