"""``citer:FOLDER,BOUND``: a head of CITER decides token by token whether the teacher writes instead of the student.

``python -m relay_core.evaluate.citer train`` trains the head. The teacher writes one token wherever the head gives a
probability above BOUND that the untrained student's token will not do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay_core.decoding.hidden import Hidden
from relay_core.errors import ConfigurationError
from relay_core.evaluate.doubts import trigger_for
from relay_core.evaluate.methods.base import Decoded, Method, Models

if TYPE_CHECKING:
    from relay_core.evaluate.tuning import Tuning


def build(spec: str, arguments: str, models: Models) -> Method:
    """``citer:FOLDER,0.5`` has two arguments, the head's folder and the bound; the folder's path may contain commas."""
    folder, above = _parsed(arguments)
    if not folder.strip() or not 0 <= above < 1:
        raise ConfigurationError(
            f"the method {spec!r}: write citer:FOLDER,BOUND such as citer:runs/citer,0.5, with the folder of a head "
            "(python -m relay_core.evaluate.citer train) and a probability below 1"
        )
    return Decoded(spec, f"CITER {above:g}", models.untrained(Hidden(folder, above)), curve="CITER")


async def sweep(arguments: str, tuning: Tuning) -> list[str] | None:
    """One method for each call ratio, by the head's doubts on training problems; ``None`` if the bound is there."""
    if not arguments or _parsed(arguments)[1] >= 0:
        return None
    doubts = await tuning.doubts(arguments)
    found = [trigger_for(doubts, ratio, 1, head=arguments) for ratio in tuning.ratios]
    return [f"citer:{arguments},{t.above:.10g}" for t in dict.fromkeys(found) if isinstance(t, Hidden)]


def _parsed(arguments: str) -> tuple[str, float]:
    """The folder and the bound; -1 where the last part is no number."""
    folder, _, bound = arguments.rpartition(",")
    try:
        return folder, float(bound)
    except ValueError:
        return folder, -1.0
