"""``grpo:MODEL``: a student that was trained by GRPO without a teacher, alone."""

from __future__ import annotations

from relay_core.errors import ConfigurationError
from relay_core.evaluate.methods.base import Decoded, Method, Models
from relay_core.evaluate.methods.bundled import sibling


def build(spec: str, arguments: str, models: Models) -> Method:
    """``grpo:SPEC`` names the model; the bundled pair needs no name."""
    model = arguments or sibling(models, "student-grpo")
    if model is None:
        raise ConfigurationError("the method grpo needs the student that was trained without a teacher: grpo:MODEL")
    return Decoded(spec, "plain GRPO", models.alone(models.engine(model, "student")))
