"""The other students that ship with the bundled pair, by which ``grpo`` and ``relay-simple`` need no name."""

from __future__ import annotations

from relay_core.evaluate.methods.base import Models


def sibling(models: Models, name: str) -> str | None:
    """The spec of a bundled student; ``None`` if the student is not a bundled one."""
    return f"bundled:{name}" if models.student.spec.startswith("bundled") else None
