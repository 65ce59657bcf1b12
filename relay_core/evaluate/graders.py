r"""Graders, which decide whether a text holds the right answer.

    exact             the whole text is the answer; white space at both ends does not count
    regex:PATTERN     the last match of PATTERN (its group 1, if it has one) is the answer
    choice            multiple choice: the letter that the text chooses is the answer
    number            the last number in the text equals the last number in the answer (1,000 = 1000.0)
    math              the text's final answer equals the answer, by math-verify (``grading/``)
    MODULE:FUNCTION   your own function of the text and the answer, which returns whether the text is right

A grader gets a text and the answer from the task's answer column. It raises GradingError if it neither accepts nor
rejects the text: a comparison took too long, or a function failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from relay_core.errors import ConfigurationError, GradingError, MissingExtraError, did_you_mean

Grader = Callable[[str, Any], bool]

ACCEPTED = "exact, regex:PATTERN, choice, number, math, or MODULE:FUNCTION"


def grader_from_spec(spec: str) -> Grader:
    """The grader that ``spec`` names; the docstring of this module lists the specs.

    Raises:
        ConfigurationError: no grader has this name, the pattern is not a regular expression, or the function cannot
            be imported.
        MissingExtraError: the grader is ``math``, and the package math-verify is not installed.
    """
    name, colon, rest = spec.partition(":")
    if not colon:
        if name == "math" and find_spec("math_verify") is None:
            raise MissingExtraError("the grader math (math-verify)", "eval")
        if name in _GRADERS:
            return _GRADERS[name]
        raise ConfigurationError(
            f"no grader is called {spec!r}; {did_you_mean(spec, [*_GRADERS, 'regex'])} (write {ACCEPTED})"
        )
    return _regex(rest) if name == "regex" else _imported(name, rest)


def agreement_from_spec(spec: str) -> Grader:
    """A function of two texts, which returns whether both hold the same answer by the grader that ``spec`` names.

    Raises:
        ConfigurationError: the grader needs a bare answer (``choice``, ``regex``); and as :func:`grader_from_spec`.
    """
    grader = grader_from_spec(spec)
    name = spec.partition(":")[0]
    if name in ("choice", "regex"):
        raise ConfigurationError(
            f"the grader {name} needs the right answers, and cannot compare two texts: name their column, or write "
            "exact, number, math or MODULE:FUNCTION"
        )
    if name == "math":
        from relay_core.evaluate.grading.compare import agree

        return agree
    return grader


def exact(text: str, answer: Any) -> bool:
    """Whether the whole text is the answer; white space at both ends does not count."""
    return text.strip() == str(answer).strip()


_LETTER = r"\(?([A-Z])\)?(?![A-Za-z'])"
_STATED_CHOICE = re.compile(rf"\\boxed\{{\s*(?:\\text\{{\s*)?{_LETTER}|[Aa]nswer(?:\s+is|\s*:)*\W{{0,4}}{_LETTER}")
_BARE_CHOICE = re.compile(r"\s*\(?([A-Z])(?:[).:]|\s*$)")


def choice(text: str, answer: Any) -> bool:
    """Whether the letter that the text chooses (:func:`stated_choice`) is the answer.

    Args:
        answer: a letter, or the choice's index (0 is A).
    """
    right = chr(ord("A") + answer) if isinstance(answer, int) else str(answer).strip().strip("().").upper()
    return stated_choice(text) == right


def stated_choice(text: str) -> str | None:
    r"""The letter that the text chooses; ``None`` if it chooses none.

    It is the last letter in `\boxed{...}` or after "answer", "answer is" or "answer:". If there is no such letter, it
    is the letter that begins the text, as in "B", "(B)" or "B. Paris".
    """
    stated: list[str] = [boxed or worded for boxed, worded in _STATED_CHOICE.findall(text)]
    if stated:
        return stated[-1]
    bare = _BARE_CHOICE.match(text)
    return None if bare is None else bare.group(1)


_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")


def number(text: str, answer: Any) -> bool:
    """Whether the last number in the text equals the last number in the answer; digits may be grouped by commas."""
    right = last_number(str(answer))
    return right is not None and last_number(text) == right


def last_number(text: str) -> Decimal | None:
    """The last number in the text; digits may be grouped by commas."""
    numbers = _NUMBER.findall(text)
    try:
        return Decimal(numbers[-1].replace(",", "")) if numbers else None
    except InvalidOperation:  # pragma: no cover - the pattern matches numbers only
        return None


def math(text: str, answer: Any) -> bool:
    """Whether the text's final answer equals the answer, which may be LaTeX, with or without dollar signs.

    Raises:
        GradingError: math-verify took too long or failed.
    """
    from relay_core.evaluate.grading.compare import is_right

    return is_right(text, answer)


_GRADERS: dict[str, Grader] = {"exact": exact, "choice": choice, "number": number, "math": math}


def _regex(pattern: str) -> Grader:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"grader regex:{pattern}: this is not a regular expression: {error}") from error
    if not pattern:
        raise ConfigurationError("grader regex: has no pattern; write regex:PATTERN")

    def grade(text: str, answer: Any) -> bool:
        matches = list(compiled.finditer(text))
        if not matches:
            return False
        value: str | None = matches[-1].group(1 if compiled.groups else 0)
        return value is not None and value.strip() == str(answer).strip()

    return grade


def _imported(module: str, function: str) -> Grader:
    spec = f"{module}:{function}"
    try:
        grader = getattr(import_module(module), function)
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"grader {spec!r} cannot be imported ({error}); write {ACCEPTED}") from error
    if not callable(grader):
        raise ConfigurationError(f"grader {spec!r} is a {type(grader).__name__}, not a function of (text, answer)")

    def grade(text: str, answer: Any) -> bool:
        try:
            return bool(grader(text, answer))
        except Exception as error:  # the user's own code
            raise GradingError(f"the grader {spec} failed: {type(error).__name__}: {error}") from error

    return grade
