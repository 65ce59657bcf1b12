"""``teacher``: the teacher alone, with its own sampling. Its call ratio is 1."""

from __future__ import annotations

from relay_core.evaluate.methods.base import Decoded, Method, Models


def build(spec: str, arguments: str, models: Models) -> Method:
    """``teacher`` takes no arguments."""
    return Decoded(spec, "teacher alone", models.alone(models.teacher, written_by="teacher"), written_by="teacher")
