"""``hand-off``: from the first call on, the teacher writes the rest of the answer."""

from __future__ import annotations

from relay_core.decoding.triggers import Commands
from relay_core.evaluate.methods.base import Decoded, Method, Models


def build(spec: str, arguments: str, models: Models) -> Method:
    """``hand-off`` takes no arguments. The limits of a call and of its tokens are lifted."""
    relay = models.relay(
        trigger=Commands("rest", models.settings.trigger.command_bias),
        on_teacher_stop="finish",
        max_call_tokens=None,
        max_teacher_tokens=None,
    )
    return Decoded(spec, "hand-off", relay)
