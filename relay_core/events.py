"""What a stream yields, and what it ends with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay_core.settings import Prices
from relay_core.transcript import Author, Segment, Transcript
from relay_core.usage import Usage

if TYPE_CHECKING:
    from relay_core.engines.base import BreakerState


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # the student's end token
    TEACHER_STOP = "teacher_stop"  # the teacher's end token, with on_teacher_stop="finish"
    STOP_STRING = "stop_string"  # one of settings.stop
    LENGTH = "length"  # max_tokens, or the student's context
    DEADLINE = "deadline"  # deadline_s


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The reader's text grew. ``token_ids``: tokens that this text completes, in their author's vocabulary."""

    author: Author
    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The teacher is asked for at most ``n`` tokens."""

    n: int


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The teacher is done: tokens asked for by the command, tokens that came, seconds, and what went wrong.

    ``breaker``: the state of the teacher's circuit breaker after it, where it has one.
    """

    requested: int
    received: int
    seconds: float
    error: str | None = None
    breaker: BreakerState | None = None


@dataclass(frozen=True, slots=True)
class RelayResult:
    """One answer.

    ``text`` is what the reader sees; ``segments`` say who wrote it. ``cost`` and ``cost_teacher_alone`` need
    ``settings.prices``. ``failures`` are the reasons of calls that failed; ``notes`` what engines had to say.
    ``breaker`` is the state of the teacher's circuit breaker at the end, ``None`` where it has none.
    """

    text: str
    segments: list[Segment]
    usage: Usage
    finish_reason: FinishReason
    calls: list[CallEnded]
    seconds: float
    transcript: Transcript = field(repr=False)
    prices: Prices | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    breaker: BreakerState | None = None

    @property
    def failures(self) -> list[str]:
        """Why calls failed, in order."""
        return [call.error for call in self.calls if call.error is not None]

    @property
    def cost(self) -> float | None:
        """What the answer cost, every re-read prompt included; ``None`` without prices."""
        return None if self.prices is None else self.usage.cost(self.prices)

    @property
    def cost_teacher_alone(self) -> float | None:
        """What the teacher alone would have cost for the same answer; ``None`` without prices."""
        return None if self.prices is None else self.usage.cost_teacher_alone(self.prices)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the shape of ``relay ask --json``."""
        return {
            "text": self.text,
            "segments": [
                {"author": str(s.author), "text": s.text, "token_ids": list(s.token_ids)} for s in self.segments
            ],
            "usage": self.usage.as_dict(),
            "cost": self.cost,
            "cost_teacher_alone": self.cost_teacher_alone,
            "finish_reason": str(self.finish_reason),
            "failures": self.failures,
            "calls": [asdict(call) for call in self.calls],
            "breaker": None if self.breaker is None else str(self.breaker),
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every stream."""

    result: RelayResult


Event = TextDelta | CallStarted | CallEnded | Finished
