"""The error tree.

    RelayError
    ├── ConfigurationError      a setting, spec, prompt or file is wrong: what was found, what to write instead
    ├── BudgetError             a budget that cannot be met at all
    └── EngineError             an engine failed; ``role`` says which one, ``student`` or ``teacher``
        └── TeacherUnavailable  the teacher failed for good; ``transcript`` holds the answer so far

Foreign exceptions are translated once, at the engine's edge, with their cause kept. An error is never an
answer: no error text ever enters a transcript.
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
        role: whose engine it concerns, ``"student"`` or ``"teacher"``; shown before the message. The loop sets it on
            an engine's error; it is ``None`` where no engine is concerned, or not known which.

    ``transcript`` is the answer so far where there is one, so that an error loses nothing.
    """

    transcript: Transcript | None = None

    def __init__(self, message: str, *, role: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.role = role

    def __str__(self) -> str:
        return f"{self.role}: {self.message}" if self.role else self.message


class ConfigurationError(RelayError, ValueError):
    """Something the caller gave cannot be used; the message says what to write instead."""


class BudgetError(RelayError, ValueError):
    """A budget that cannot be met at all, such as a limit of zero tokens."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional part is not installed; the message holds the ``pip install`` line.

    Args:
        what: what needs it.
        extra: the extra of this package that brings it (``extras.py``).
    """

    def __init__(self, what: str, extra: str) -> None:
        from relay_core.extras import install_line

        super().__init__(f"{what} needs packages that are not installed: {install_line(extra)}")


class EngineError(RelayError):
    """An engine could not do what it was asked."""


class ContextOverflow(EngineError):
    """The prompt is longer than the model's context."""


class TeacherUnavailable(EngineError):
    """The teacher failed after the retries; ``transcript`` carries the answer so far."""

    def __init__(self, message: str, *, transcript: Transcript | None = None) -> None:
        super().__init__(message, role="teacher")
        self.transcript = transcript


@contextmanager
def attributed_to(role: str) -> Iterator[None]:
    """Give engines' errors raised inside the role of the engine, unless they have one."""
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
