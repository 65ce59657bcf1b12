"""``relay``: the student calls where it was trained to, or by the trigger of the settings."""

from __future__ import annotations

from relay_core.evaluate.methods.base import Decoded, Method, Models


def build(spec: str, arguments: str, models: Models) -> Method:
    """``relay`` takes no arguments; ``relay,teacher=SPEC`` is the same student with another teacher."""
    return Decoded(spec, "relay", models.relay())
