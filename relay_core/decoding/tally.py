"""The counts of one answer so far: the tokens that each model read, refused and malformed calls, waste, and the
engines' notes.

The transcript counts the tokens that were written; :meth:`Tally.usage` combines all counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay_core.engines.base import EngineUsage, Waste
from relay_core.events import CallEnded
from relay_core.keys import Role
from relay_core.transcript import Author, Transcript
from relay_core.usage import Usage, sum_or_none


class Reads:
    """The prompt tokens that one model read, over all requests of an answer.

    ``cached`` is ``None`` as soon as a request did not report its cached tokens. ``first`` is the length of the first
    prompt.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.cached: int | None = 0
        self.first: int | None = None

    def add(self, prompt_length: int | None, usage: EngineUsage | None) -> None:
        """Count one request; ``prompt_length`` is used if the engine does not report its prompt tokens."""
        reported = usage.prompt_tokens if usage else None
        tokens = reported if reported is not None else (prompt_length or 0)
        cached = usage.cached_tokens if usage else None
        if cached is not None and cached > tokens:  # the report is wrong
            cached = None
        self.first = tokens if self.first is None else self.first
        self.tokens += tokens
        self.cached = sum_or_none(self.cached, cached)


class Tally:
    """The counters of one answer.

    Args:
        calls: the calls made so far. It is the loop's own list, so it grows with each call.

    ``dropped_chars``: the characters that the running request wrote behind a command; they are not in the transcript.
    """

    def __init__(self, calls: list[CallEnded]) -> None:
        self.calls = calls
        self.reads: Mapping[Role, Reads] = {"student": Reads(), "teacher": Reads()}
        self.turns = self.refused = self.malformed = self.discarded = self.dropped_chars = 0
        self.notes: dict[str, Any] = {}
        self.waste = Waste()

    def note(self, role: Role, notes: Mapping[str, Any]) -> None:
        """Keep the notes of one request; integers are added up over the answer."""
        for name, value in notes.items():
            key = f"{role}_{name}"
            self.notes[key] = self.notes.get(key, 0) + value if isinstance(value, int) else value

    def usage(self, transcript: Transcript) -> Usage:
        """All counts, with those of the transcript."""
        student, teacher = self.reads["student"], self.reads["teacher"]
        return Usage(
            prompt_tokens=len(transcript.prompt_ids) or student.first or 0,
            student_tokens=transcript.count(Author.STUDENT),
            command_tokens=transcript.count(Author.COMMAND),
            teacher_tokens=transcript.count(Author.TEACHER),
            teacher_prompt_tokens=teacher.tokens,
            teacher_cached_tokens=teacher.cached,
            student_prompt_tokens=student.tokens,
            student_cached_tokens=student.cached,
            calls=len(self.calls),
            refused_calls=self.refused,
            failed_calls=sum(call.error is not None for call in self.calls),
            malformed_calls=self.malformed,
            discarded_tokens=self.discarded,
            wasted_requests=self.waste.requests,
            wasted_prompt_tokens=self.waste.prompt_tokens,
            wasted_cached_tokens=self.waste.cached_tokens,
            wasted_tokens=self.waste.tokens,
        )
