"""The events that a stream yields, and the result that it ends with."""

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


#: a limit ended the answer, so it is not complete; training and evaluation count it as wrong, whatever it holds
TRUNCATED = frozenset({FinishReason.LENGTH, FinishReason.DEADLINE})


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the reader's text.

    ``token_ids``: the ids of the tokens that end in this piece, in the vocabulary of the author's model.
    """

    author: Author
    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call begins: the teacher is asked for at most ``n`` tokens."""

    n: int


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call has ended.

    ``requested``: tokens that the trigger requested. ``received``: tokens that the teacher wrote. ``seconds``: the
    duration of the call. ``error``: why the call failed; ``None`` if it succeeded. ``breaker``: the state of the
    teacher's circuit breaker after the call; ``None`` without a breaker.
    """

    requested: int
    received: int
    seconds: float
    error: str | None = None
    breaker: BreakerState | None = None


@dataclass(frozen=True, slots=True)
class RelayResult:
    """One answer."""

    #: the reader's text
    text: str
    #: the answer as runs by one author, commands included
    segments: list[Segment]
    #: counts of tokens and calls
    usage: Usage
    #: why the answer ended
    finish_reason: FinishReason
    #: every call that was made, in order
    calls: list[CallEnded]
    #: wall time of the whole answer
    seconds: float
    #: the full record: ids, authors, log-probabilities
    transcript: Transcript = field(repr=False)
    #: the prices from the settings; ``None`` if none were set
    prices: Prices | None = None
    #: remarks of the engines about their streams, such as ``teacher_approximate``, of the prompts, such as
    #: ``student_template`` (what the chat template could not show as it was given), and of the loop (``max_calls``)
    notes: Mapping[str, Any] = field(default_factory=dict)
    #: the state of the teacher's circuit breaker at the end; ``None`` without a breaker
    breaker: BreakerState | None = None

    @property
    def failures(self) -> list[str]:
        """The reasons of the calls that failed, in order."""
        return [call.error for call in self.calls if call.error is not None]

    @property
    def cost(self) -> float | None:
        """The cost of the answer, including the context that each call reads again; ``None`` without prices."""
        return None if self.prices is None else self.usage.cost(self.prices)

    @property
    def cost_teacher_alone(self) -> float | None:
        """The cost if the teacher had written the same answer alone; ``None`` without prices."""
        return None if self.prices is None else self.usage.cost_teacher_alone(self.prices)

    def to_html(self, title: str = "An answer") -> str:
        """The answer as a self-contained HTML document in which the teacher's words are marked."""
        from relay_core.pictures import html_page

        return html_page(self, title)

    def to_svg(self) -> str:
        """The answer as an SVG image in which the teacher's words are marked."""
        from relay_core.pictures import svg

        return svg(self)

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows."""
        from relay_core.pictures import html_fragment

        return html_fragment(self)

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON, with the fields of ``relay ask --json``."""
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
            "notes": {name: value if isinstance(value, _PLAIN) else str(value) for name, value in self.notes.items()},
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every stream."""

    result: RelayResult


_PLAIN = (str, int, float, bool, list, type(None))
Event = TextDelta | CallStarted | CallEnded | Finished
