"""How sure a student is of its own tokens, and what a trigger with a bound would make of it.

The *sureness* at a place is the logarithm of a probability. For :class:`~relay_core.decoding.triggers.Uncertain`, it is
the probability of the student's likeliest token; for :class:`~relay_core.decoding.hidden.Hidden`, the probability that
the student's token is right, according to the head. Both triggers call where the sureness is below a bound.

:class:`Recording` is a trigger that never calls: it notes the sureness at each place. :func:`foretell` walks over these
values as the trigger would, on the assumption that the student's doubts stay where they are if the teacher writes some
of the tokens. A relay's own ratio differs: the teacher's words make the student surer or less sure of what follows.
``calibrate.py`` corrects for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from relay_core.decoding.hidden import Hidden
from relay_core.decoding.triggers import Candidate, Decider, Trigger, Uncertain

#: the sureness at each place of each answer
Doubts = Sequence[Sequence[float]]
#: a trigger that calls where the sureness is below a bound
Bounded = Uncertain | Hidden

_LEAST = math.log(1e-10)  # the sureness where a head's probability is 1 in float32
_STEPS = 30  # of the bisection, which then is more exact than the six digits that a trigger's string keeps


class _Notes(Decider):
    reads_tokens = True

    def __init__(self, sureness: list[float], has_head: bool) -> None:
        self._sureness, self._has_head = sureness, has_head

    def before_token(self, candidate: Candidate) -> int:
        token = candidate.token
        if self._has_head:
            wrong = token.head_probability or 0.0
            sureness = math.log1p(-wrong) if wrong < 1 else _LEAST
        else:
            sureness = 0.0 if token.top_logprob is None else token.top_logprob
        self._sureness.append(sureness)
        return 0


@dataclass(frozen=True)
class Recording(Trigger):
    """Never calls, and appends to ``sureness`` how sure the student is at each place of an answer.

    A recording belongs to one answer. The end token is a place, too.

    Args:
        head: the folder of the head whose probability is recorded; with ``None``, that of the likeliest token is.
    """

    head: str | None = None
    sureness: list[float] = field(default_factory=list, compare=False, repr=False)

    @property
    def needs_top_logprob(self) -> bool:  # type: ignore[override]
        return self.head is None

    @property
    def needed_head(self) -> str | None:
        return self.head

    def decider(self, seed: int | None) -> Decider:
        return _Notes(self.sureness, self.head is not None)


def trigger_at(below: float, n: int, gap: int = 0, head: str | None = None) -> Bounded:
    """The trigger that calls where the sureness is below log(``below``)."""
    if head is None:
        return Uncertain(below, n, gap)
    return Hidden(head, min(round(1 - below, 10), 1 - 1e-10), n)


def _below(trigger: Bounded) -> float:
    return trigger.below if isinstance(trigger, Uncertain) else 1 - trigger.above


def gap_of(trigger: Bounded) -> int:
    """The student tokens that a trigger leaves between two calls."""
    return trigger.gap if isinstance(trigger, Uncertain) else 0


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a trigger would do, by the student's own tokens: the call ratio, and calls per answer."""

    call_ratio: float
    calls: float


def foretell(doubts: Doubts, trigger: Bounded) -> Foretold:
    """The call ratio and the calls to expect of a trigger."""
    bound, gap = math.log(_below(trigger)), gap_of(trigger)
    calls = student = teacher = 0
    for answer in doubts:
        place, since_call = 0, gap
        while place < len(answer):
            if answer[place] < bound and since_call >= gap:
                written = min(trigger.n, len(answer) - place)
                calls, teacher, place, since_call = calls + 1, teacher + written, place + written, 0
            else:
                student, place, since_call = student + 1, place + 1, since_call + 1
    written = student + teacher
    return Foretold(teacher / written if written else 0.0, calls / max(1, len(doubts)))


def trigger_for(doubts: Doubts, call_ratio: float, n: int, gap: int = 0, head: str | None = None) -> Bounded:
    """The trigger of which ``call_ratio`` is to be expected.

    Args:
        doubts: the student's.
        call_ratio: above 0; more than any trigger can reach gives the trigger that calls wherever there is a doubt.
        n, gap: those of the trigger.
        head: its head, with which ``doubts`` was recorded; ``None`` for ``Uncertain``.
    """
    low = min((sureness for answer in doubts for sureness in answer), default=0.0) - 1e-3
    high = 0.0
    if foretell(doubts, trigger_at(1.0, n, gap, head)).call_ratio <= call_ratio:
        return trigger_at(1.0, n, gap, head)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if foretell(doubts, trigger_at(math.exp(middle), n, gap, head)).call_ratio < call_ratio:
            low = middle
        else:
            high = middle
    return _rounded(doubts, math.exp(high), n, gap, head)


def _rounded(doubts: Doubts, below: float, n: int, gap: int, head: str | None) -> Bounded:
    """The trigger with as few digits of ``below`` as foretell the same; at most six, which its string keeps."""
    exact = foretell(doubts, trigger_at(below, n, gap, head))
    for digits in range(1, 7):
        rounded = trigger_at(min(1.0, float(f"{below:.{digits}g}")), n, gap, head)
        if foretell(doubts, rounded) == exact:
            break
    return rounded
