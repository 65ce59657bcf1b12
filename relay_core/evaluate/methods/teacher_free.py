"""``teacher-free``: the trained student with its calls refused (paper, section 4.4)."""

from __future__ import annotations

from dataclasses import replace

from relay_core.evaluate.methods.base import Decoded, Method, Models
from relay_core.relay import Relay


def build(spec: str, arguments: str, models: Models) -> Method:
    """``teacher-free`` takes no arguments."""
    return Decoded(spec, "teacher-free", Relay(models.student, None, replace(models.settings, calls=False)))
