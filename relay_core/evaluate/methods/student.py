"""``student``: the student before training, alone."""

from __future__ import annotations

from relay_core.evaluate.methods.base import Decoded, Models


def build(spec: str, arguments: str, models: Models) -> Decoded:
    """``student`` takes no arguments."""
    return Decoded(spec, "student alone", models.alone(models.base))
