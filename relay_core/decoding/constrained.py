"""An answer under a constraint: what each of its requests is held to, and whether calls may interrupt it.

The constraint is on the reader's text behind the prefix. The student's request begins where that text stands, whoever
wrote it, and so does the teacher's: both are held to the same grammar, and the whole follows it. Where one of the two
engines cannot begin within a constraint, the calls of the answer are refused. A command is text that the constraint
must allow, so in JSON it stands within a string; it is taken out before the next request begins.
"""

from __future__ import annotations

from typing import Any

from relay_core.constraint import Constraint, Kind
from relay_core.engines.base import Engine, Prompt
from relay_core.transcript import Transcript


async def applicable(constraint: Constraint | None, student: Engine) -> Constraint | None:
    """The constraint, checked by the student's engine; ``None`` if nothing is to be constrained.

    A forced tool call on an engine that cannot be held to one is written without constraint.

    Raises:
        ConfigurationError: the engine cannot hold a text to the constraint.
    """
    if constraint is None or (constraint.kind is Kind.TOOL_CALL and constraint.kind not in student.constraints):
        return None
    await student.check_constraint(constraint)
    return constraint


class Hold:
    """What one answer is held to.

    Args:
        constraint: as :func:`applicable` gives it.
        student: the student's engine.
        teacher: the teacher's; ``None`` if there is none.
    """

    def __init__(self, constraint: Constraint | None, student: Engine, teacher: Engine | None) -> None:
        self._constraint, self._student, self._teacher = constraint, student, teacher

    @property
    def allows_calls(self) -> bool:
        """Whether the teacher can go on within the constraint, and the student after it."""
        kind, teacher = None if self._constraint is None else self._constraint.kind, self._teacher
        return kind is None or (
            teacher is not None
            and kind in teacher.constraints
            and teacher.resumes_constraints
            and self._student.resumes_constraints
        )

    @property
    def stops_at_commands(self) -> bool:
        """Whether a command ends the student's request even if it opens no call, so that the next one begins without
        it."""
        return self._constraint is not None and self._student.resumes_constraints

    def student(self, transcript: Transcript) -> dict[str, Any]:
        """Fields of the sampling of the student's next request."""
        return {} if self._constraint is None else self._constraint.fields(transcript.reader_text)

    def teacher(self, prompt: Prompt, prefix: str) -> dict[str, Any]:
        """Fields of the sampling of a teacher's request; ``prompt`` continues the answer's prefix and text."""
        return {} if self._constraint is None else self._constraint.fields(prompt.continuation.removeprefix(prefix))

    def note(self, refused: int) -> dict[str, str]:
        """A note for the result if calls were refused because of the constraint."""
        if not refused or self._teacher is None or self.allows_calls:
            return {}
        return {"constraint": f"{refused} calls were refused: both engines must be able to begin within a constraint"}
