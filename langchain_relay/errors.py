"""Our errors as LangChain's: where LangChain has a class for the same error, the error raised is of both classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import ContextOverflowError

from relay_core import errors


class ContextOverflow(errors.ContextOverflow, ContextOverflowError):
    """The prompt is longer than the model's context; LangChain's middleware then shortens the history."""


@contextmanager
def langchain_errors() -> Iterator[None]:
    """Turn our errors raised inside into LangChain's, where it has such a class.

    Raises:
        ContextOverflow: in place of :class:`relay_core.errors.ContextOverflow`.
    """
    try:
        yield
    except errors.ContextOverflow as error:
        overflow = ContextOverflow(error.message, role=error.role)
        overflow.transcript = error.transcript
        raise overflow from error
