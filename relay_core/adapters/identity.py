"""What both plugins say of a relay before it answers: its name, and whether its student calls tools."""

from __future__ import annotations

from relay_core.engines.base import Engine
from relay_core.engines.spec import Scheme
from relay_core.relay import Relay


def relay_specs(relay: Relay) -> dict[str, str | None]:
    """The specs of a relay's engines by role; ``None`` for a teacher that it does not have."""
    return {"student": relay.student.spec, "teacher": None if relay.teacher is None else relay.teacher.spec}


def relay_name(student: str, teacher: str | None) -> str:
    """The name of a relay, made of its engines' specs.

    Frameworks sum usage by the model's name, and look prices up by it. The tokens of a relay are those of two models,
    so its name is neither model's own.
    """
    return student if teacher is None else f"{student} + {teacher}"


def calls_tools(student: Engine) -> bool:
    """Whether a student may be offered tools: any but a bundled one, which was not trained for them."""
    return student.spec.partition(":")[0] != Scheme.BUNDLED
