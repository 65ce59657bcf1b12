"""``relay-simple:MODEL``: a relay whose student was trained with the simple reward, correct - rho."""

from __future__ import annotations

from relay_core.errors import ConfigurationError
from relay_core.evaluate.methods.base import Decoded, Method, Models
from relay_core.evaluate.methods.bundled import sibling


def build(spec: str, arguments: str, models: Models) -> Method:
    """``relay-simple:SPEC`` names the student; the bundled pair needs no name."""
    model = arguments or sibling(models, "student-simple")
    if model is None:
        raise ConfigurationError("the method relay-simple needs the student of the simple reward: relay-simple:MODEL")
    return Decoded(spec, "relay, simple reward", models.relay(models.engine(model, "student")))
