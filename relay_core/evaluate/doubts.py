"""How sure a student is of its own tokens, and what :class:`~relay_core.decoding.triggers.Uncertain` would make of it.

:class:`Recording` is a trigger that never calls: it notes the probability of the likeliest token at each place.
:func:`foretell` walks over these probabilities as the trigger would, on the assumption that the student's doubts stay
where they are if the teacher writes some of the tokens. A relay's own ratio differs: the teacher's words make the
student surer or less sure of what follows. ``calibrate.py`` corrects for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from relay_core.decoding.triggers import Candidate, Decider, Trigger, Uncertain

#: the log-probability of the likeliest token at each place of each answer
Doubts = Sequence[Sequence[float]]

_STEPS = 30  # of the bisection, which then is more exact than the six digits that a trigger's string keeps


class _Notes(Decider):
    reads_tokens = True

    def __init__(self, top_logprobs: list[float]) -> None:
        self._top_logprobs = top_logprobs

    def before_token(self, candidate: Candidate) -> int:
        top = candidate.token.top_logprob
        self._top_logprobs.append(0.0 if top is None else top)
        return 0


@dataclass(frozen=True)
class Recording(Trigger):
    """Never calls, and appends the log-probability of the likeliest token at each place to ``top_logprobs``.

    A recording belongs to one answer. The end token is a place, too.
    """

    top_logprobs: list[float] = field(default_factory=list, compare=False, repr=False)

    needs_top_logprob = True

    def decider(self, seed: int | None) -> Decider:
        return _Notes(self.top_logprobs)


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a trigger would do, by the student's own tokens: the call ratio, and calls per answer."""

    call_ratio: float
    calls: float


def foretell(doubts: Doubts, trigger: Uncertain) -> Foretold:
    """The call ratio and the calls to expect of a trigger."""
    bound = math.log(trigger.below)
    calls = student = teacher = 0
    for answer in doubts:
        place, since_call = 0, trigger.gap
        while place < len(answer):
            if answer[place] < bound and since_call >= trigger.gap:
                written = min(trigger.n, len(answer) - place)
                calls, teacher, place, since_call = calls + 1, teacher + written, place + written, 0
            else:
                student, place, since_call = student + 1, place + 1, since_call + 1
    written = student + teacher
    return Foretold(teacher / written if written else 0.0, calls / max(1, len(doubts)))


def trigger_for(doubts: Doubts, call_ratio: float, n: int, gap: int = 0) -> Uncertain:
    """The trigger of which ``call_ratio`` is to be expected.

    Args:
        doubts: the student's.
        call_ratio: above 0; more than any trigger can reach gives ``below=1``.
        n, gap: those of the trigger.
    """
    low = min((top for answer in doubts for top in answer), default=0.0) - 1e-3
    high = 0.0
    if foretell(doubts, Uncertain(1.0, n, gap)).call_ratio <= call_ratio:
        return Uncertain(1.0, n, gap)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if foretell(doubts, Uncertain(math.exp(middle), n, gap)).call_ratio < call_ratio:
            low = middle
        else:
            high = middle
    return _rounded(doubts, Uncertain(math.exp(high), n, gap))


def _rounded(doubts: Doubts, trigger: Uncertain) -> Uncertain:
    """The trigger with as few digits of ``below`` as foretell the same; at most six, which its string keeps."""
    exact = foretell(doubts, trigger)
    for digits in range(1, 7):
        rounded = replace(trigger, below=min(1.0, float(f"{trigger.below:.{digits}g}")))
        if foretell(doubts, rounded) == exact:
            break
    return rounded
