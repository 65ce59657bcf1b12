"""What the benchmarks of multiple choice share: lettered options in the prompt, and a letter as the answer."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

from relay_core.engines.base import Message
from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks.base import Published, asked
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.graders import choice, stated_choice
from relay_core.evaluate.task import Problem


class MultipleChoice(Published):
    """A benchmark whose answers are letters."""

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether the letter that the text chooses is the right one, by the grader ``choice``."""
        return choice(text, problem.answer)

    def answer_in(self, text: str) -> str | None:
        """The letter that the text chooses."""
        return stated_choice(text)


def with_options(question: Any, options: list[Any]) -> tuple[Message, ...]:
    """The prompt: the question, the options as ``A. ...``, ``B. ...``, and the paper's instruction."""
    lettered = (f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return asked("\n".join([str(question).strip(), *lettered]))


def options_of(row: Row, where: str) -> list[Any]:
    """The column ``options``.

    Raises:
        ConfigurationError: there is none, or it holds no list of at most 26 options.
    """
    options = cell(row, "options", where)
    if not isinstance(options, list) or len(options) > len(ascii_uppercase):
        raise ConfigurationError(f"{where}: the column 'options' must hold a list of at most 26 options")
    return options


def letter_of(row: Row, column: str, options: list[Any], where: str) -> str:
    """The right letter in a column.

    Raises:
        ConfigurationError: there is no such column, or it holds no letter of an option.
    """
    letter = str(cell(row, column, where)).strip()
    letters = ascii_uppercase[: len(options)]
    if letter not in list(letters):
        raise ConfigurationError(
            f"{where}: the column {column!r} is {letter!r}: write a letter from A to {letters[-1]}"
        )
    return letter
