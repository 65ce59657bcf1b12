"""Converts our errors into LangChain's: if LangChain has a class for the same error, the raised error has both
classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import ContextOverflowError

from relay_core import errors


class ContextOverflow(errors.ContextOverflow, ContextOverflowError):
    """The prompt is longer than the model's context; LangChain's middleware then shortens the history."""


@contextmanager
def langchain_errors() -> Iterator[None]:
    """Convert our errors that are raised in this context into LangChain's, if LangChain has such a class.

    Raises:
        ContextOverflow: instead of :class:`relay_core.errors.ContextOverflow`.
    """
    try:
        yield
    except errors.ContextOverflow as error:
        overflow = ContextOverflow(error.message, role=error.role)
        overflow.transcript = error.transcript
        raise overflow from error
