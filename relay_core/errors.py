"""The error tree.

    RelayError
    ├── ConfigurationError      a setting, spec, prompt or file cannot be used; the message says what to write instead
    │   └── MissingExtraError   an optional package is not installed; the message holds the pip install line
    ├── BudgetError             a budget cannot be met at all
    ├── TrainingError           training cannot go on; what was done until then is kept
    ├── GradingError            a grader neither accepts nor rejects an answer: it took too long, or failed
    └── EngineError             an engine failed; ``role`` says which one, ``student`` or ``teacher``
        ├── ContextOverflow     the prompt is longer than the model's context
        └── TeacherUnavailable  the teacher failed after the retries; ``transcript`` holds the answer so far

Each engine translates the exceptions of other libraries once, and keeps the original exception as the cause. The text
of an error never enters a transcript.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay_core.transcript import Transcript


class RelayError(Exception):
    """Root of every error that this library raises.

    Args:
        message: what went wrong, with the numbers that matter (lengths, status codes, names).
        role: the role of the engine that failed, shown before the message. Engines do not know their role, so the
            loop sets it. ``None`` if the error has nothing to do with an engine.

    ``transcript`` is the answer so far; ``None`` if no answer had begun.
    """

    transcript: Transcript | None = None

    def __init__(self, message: str, *, role: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.role = role

    def __str__(self) -> str:
        return f"{self.role}: {self.message}" if self.role else self.message


class ConfigurationError(RelayError, ValueError):
    """A setting, spec, prompt or file cannot be used; the message says what to write instead."""


class BudgetError(RelayError, ValueError):
    """A budget cannot be met at all, such as a limit of zero tokens."""


class TrainingError(RelayError):
    """Training cannot go on, such as after a loss that is not finite; what was done until then is kept."""


class GradingError(RelayError):
    """A grader neither accepts nor rejects an answer: it took too long, or failed. Such an answer is not wrong."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional package is not installed; the message holds the ``pip install`` line.

    Args:
        feature: the feature that needs the package; it becomes the subject of the message.
        extra: the extra of relay-decoding that installs the package (``extras.py``).
    """

    def __init__(self, feature: str, extra: str) -> None:
        from relay_core.extras import install_line

        super().__init__(f"{feature} needs packages that are not installed: {install_line(extra)}")
        self.feature, self.extra = feature, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.feature, self.extra)  # by default, pickle would pass the message alone


class EngineError(RelayError):
    """An engine failed: its model, its server, or the connection to it."""


class ContextOverflow(EngineError):
    """The prompt is longer than the model's context."""


class TeacherUnavailable(EngineError):
    """The teacher failed after the retries; ``transcript`` holds the answer so far."""

    def __init__(self, message: str, *, transcript: Transcript | None = None) -> None:
        super().__init__(message, role="teacher")
        self.transcript = transcript


@contextmanager
def attributed_to(role: str) -> Iterator[None]:
    """Set ``role`` on each ``EngineError`` that is raised in this context, unless it has one already."""
    try:
        yield
    except EngineError as error:
        error.role = error.role or role
        raise


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known name, or all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(names)}"
