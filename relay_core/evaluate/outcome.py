"""One answer of a method, with what the reports need of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from relay_core.evaluate.measure import as_teacher
from relay_core.events import TRUNCATED, RelayResult
from relay_core.keys import Role
from relay_core.transcript import Author
from relay_core.usage import Usage


@dataclass(frozen=True, slots=True)
class Part:
    """A run of tokens by one author: ``student``, ``command`` or ``teacher``."""

    author: str
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call that was made.

    ``place``: the tokens of the answer before it, by both models. ``requested``, ``received``: teacher tokens.
    ``error``: why it failed.
    """

    place: int
    requested: int
    received: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An answer.

    ``text``: the reader's text. ``usage``: tokens and calls; all tokens are the teacher's if it answered alone.
    ``finish_reason``: why it ended; ``too_long`` if the prompt did not fit into a model's context. ``mean_logprob``,
    ``min_logprob``: of the tokens that the student wrote; ``None`` where its engine gives none. ``chose``: the spec of
    the method whose answer a router took.
    """

    text: str
    usage: Usage
    finish_reason: str
    seconds: float
    parts: Sequence[Part] = ()
    calls: Sequence[MadeCall] = ()
    mean_logprob: float | None = None
    min_logprob: float | None = None
    chose: str | None = None

    @property
    def is_truncated(self) -> bool:
        """Whether a limit cut the answer."""
        return self.finish_reason in TRUNCATED

    def as_row(self) -> dict[str, Any]:
        """Plain values, from which :meth:`of_row` builds the outcome again."""
        return asdict(self)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Outcome:
        """The outcome in a row."""
        values = {f.name: row[f.name] for f in fields(cls)}
        values["usage"] = Usage(**{f.name: row["usage"][f.name] for f in fields(Usage)})
        values["parts"] = tuple(Part(**part) for part in row["parts"])
        values["calls"] = tuple(MadeCall(**call) for call in row["calls"])
        return cls(**values)


def outcome_of(result: RelayResult, written_by: Role = "student") -> Outcome:
    """The outcome of an answer.

    Args:
        result: the answer.
        written_by: ``"teacher"`` if the relay's student engine is the teacher, which answered alone: its tokens then
            count as the teacher's.
    """
    alone = written_by == "teacher"
    logprobs = [
        logprob
        for segment in result.segments
        if segment.author is Author.STUDENT
        for logprob in segment.logprobs
        if logprob is not None
    ]
    return Outcome(
        text=result.text,
        usage=as_teacher(result.usage) if alone else result.usage,
        finish_reason=str(result.finish_reason),
        seconds=result.seconds,
        parts=tuple(Part("teacher" if alone else str(s.author), s.text, s.tokens) for s in result.segments),
        calls=tuple(_calls(result)),
        mean_logprob=sum(logprobs) / len(logprobs) if logprobs else None,
        min_logprob=min(logprobs, default=None),
    )


def too_long(seconds: float = 0.0) -> Outcome:
    """What stands in place of an answer to a prompt that does not fit into a model's context."""
    return Outcome(text="", usage=Usage(), finish_reason="too_long", seconds=seconds)


def _calls(result: RelayResult) -> list[MadeCall]:
    """The calls with their places. A call that brought no token has the place of the token that follows it."""
    places, place = [], 0
    for segment in result.segments:
        if segment.author is Author.TEACHER:
            places.append(place)
        place += segment.tokens
    waiting = iter(places)
    calls = []
    last = 0
    for call in result.calls:
        last = next(waiting, place) if call.received else last
        calls.append(MadeCall(last, call.requested, call.received, call.seconds, call.error))
    return calls
