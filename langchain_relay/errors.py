"""Our errors where LangChain has one of its own for the same: what is raised is both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import ContextOverflowError

from relay_core import errors


class ContextOverflow(errors.ContextOverflow, ContextOverflowError):
    """The prompt is longer than the model's context: what LangChain's middleware shortens the history for."""


@contextmanager
def as_langchains() -> Iterator[None]:
    """Around an answer: what LangChain knows by a class of its own comes as one.

    Raises:
        ContextOverflow: in place of :class:`relay_core.errors.ContextOverflow`.
    """
    try:
        yield
    except errors.ContextOverflow as error:
        ours = ContextOverflow(error.message, role=error.role)
        ours.transcript = error.transcript
        raise ours from error
