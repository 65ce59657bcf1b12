"""``told``: an untrained student that instructions tell when to call."""

from __future__ import annotations

from relay_core.evaluate.methods.base import Decoded, Method, Models
from relay_core.instructions import CALCULATIONS, named


def build(spec: str, arguments: str, models: Models) -> Method:
    """``told``, or ``told:NAME`` with the name of other instructions."""
    text = named(arguments) if arguments else (models.settings.student_instructions or CALCULATIONS)
    relay = models.relay(models.base, student_instructions=text, trigger="commands")
    return Decoded(spec, f"told {arguments}".strip(), relay, curve="told")
