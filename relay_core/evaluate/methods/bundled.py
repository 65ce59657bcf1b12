"""The other students that ship with the bundled pair, by which ``grpo`` and ``relay-simple`` need no name."""

from __future__ import annotations

from relay_core.evaluate.methods.base import Models


def sibling(models: Models, name: str) -> str | None:
    """The spec of a bundled student; ``None`` if the student is not a bundled one, or there is no such model."""
    if not models.student.spec.startswith("bundled"):
        return None
    from relay_core import bundled

    return f"bundled:{name}" if name in bundled.NAMES else None
