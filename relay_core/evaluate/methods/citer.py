"""``citer:FOLDER,BOUND``: a head of CITER decides token by token whether the teacher writes instead of the student.

``python -m relay_core.evaluate.citer train`` trains the head. The teacher writes one token wherever the head gives a
probability above BOUND that the untrained student's token will not do.
"""

from __future__ import annotations

from relay_core.decoding.hidden import Hidden
from relay_core.errors import ConfigurationError
from relay_core.evaluate.methods.base import Decoded, Method, Models


def build(spec: str, arguments: str, models: Models) -> Method:
    """``citer:FOLDER,0.5`` has two arguments, the head's folder and the bound; the folder's path may contain commas."""
    folder, _, bound = arguments.rpartition(",")
    try:
        above = float(bound)
    except ValueError:
        above = -1.0
    if not folder.strip() or not 0 <= above < 1:
        raise ConfigurationError(
            f"the method {spec!r}: write citer:FOLDER,BOUND such as citer:runs/citer,0.5, with the folder of a head "
            "(python -m relay_core.evaluate.citer train) and a probability below 1"
        )
    relay = models.relay(models.base, trigger=Hidden(folder, above), student_instructions=None, max_calls=None)
    return Decoded(spec, f"CITER {above:g}", relay, curve="CITER")
