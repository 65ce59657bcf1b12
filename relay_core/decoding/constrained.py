"""An answer under a constraint: the constraint of each request, and whether calls are allowed.

The constraint applies to the reader's text after the prefix. Each request of either model begins at the end of this
text and follows the same grammar, so the whole text follows it. If one of the two engines cannot begin in the middle of
a constrained text, the calls of the answer are refused. The constraint must also allow the text of a command. In JSON,
a command can therefore only be inside a string; it is removed before the next request begins.
"""

from __future__ import annotations

from typing import Any

from relay_core.constraint import Constraint, Kind
from relay_core.engines.base import Engine, Prompt
from relay_core.transcript import Transcript


async def applicable(constraint: Constraint | None, student: Engine) -> Constraint | None:
    """The constraint, which the student's engine has checked; ``None`` if there is no constraint.

    If the engine cannot constrain a forced tool call, the tool call is written without a constraint.

    Raises:
        ConfigurationError: the engine cannot apply the constraint.
    """
    if constraint is None or (constraint.kind is Kind.TOOL_CALL and constraint.kind not in student.constraints):
        return None
    await student.check_constraint(constraint)
    return constraint


class Hold:
    """The constraint of one answer.

    Args:
        constraint: the result of :func:`applicable`.
        student: the student's engine.
        teacher: the teacher's; ``None`` if there is none.
    """

    def __init__(self, constraint: Constraint | None, student: Engine, teacher: Engine | None) -> None:
        self._constraint, self._student, self._teacher = constraint, student, teacher

    @property
    def is_held(self) -> bool:
        """Whether the answer has a constraint."""
        return self._constraint is not None

    @property
    def allows_calls(self) -> bool:
        """Whether the teacher can continue within the constraint, and the student after the teacher."""
        kind, teacher = None if self._constraint is None else self._constraint.kind, self._teacher
        return kind is None or (
            teacher is not None
            and kind in teacher.constraints
            and teacher.resumes_constraints
            and self._student.resumes_constraints
        )

    @property
    def stops_at_commands(self) -> bool:
        """Whether a command ends the student's request even if it opens no call, so that the next request omits it."""
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
