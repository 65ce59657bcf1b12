r"""Whether two answers in mathematics are equal.

    is_right(r"so \boxed{0.5}", r"\frac{1}{2}")     a text and the right answer
    agree(text, other)                              the final answers of two texts

Both raise :class:`~relay_core.errors.GradingError` where math-verify neither accepts nor rejects: it takes too long, it
fails, or it cannot read the right answer.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from relay_core.evaluate.grading import quantity as numbers
from relay_core.evaluate.grading import structure, worker
from relay_core.evaluate.grading.final_answer import LONGEST, final_answer, last_expression
from relay_core.evaluate.grading.notation import compact, normal
from relay_core.evaluate.grading.quantity import quantity
from relay_core.evaluate.grading.structure import Group, Kind, group, sides

_NAME = re.compile(r"\\?[A-Za-z]+(?:_(?:\{[^{}]*\}|\w))?(?:\s*\([^()]*\))?|\([A-Za-z, _]+\)")
_WORDS = re.compile(r"\(?[A-Za-z]\)?|[A-Za-z][a-z'-]{3,}.*|.*\s[A-Za-z][a-z'-]{3,}\b.*")
_MEMBER = re.compile(r"^\s*\\?[A-Za-z]\w*\s*\\in(?![A-Za-z])")
_RELATION = re.compile(r"\\(?:le|ge|ne|lt|gt)(?![A-Za-z])|[<>]")
_BASED = re.compile(r"(\d+)_\{?(\d+)\}?")


def is_right(text: str, answer: Any, *, tolerance: float = 0.0) -> bool:
    r"""Whether the final answer of a text equals the right answer.

    Args:
        text: its final answer is in the last `\boxed{...}`, behind `####`, or behind "the answer is"; else it is the
            last expression.
        answer: the right answer: a number or LaTeX, with or without dollar signs or a box.
        tolerance: how far a number may lie from the right one.

    Raises:
        GradingError: the comparison took too long or failed, or the right answer cannot be read.
    """
    right = str(answer)
    found = final_answer(text) or last_expression(text)
    return found is not None and same(final_answer(right) or right, found, tolerance=Fraction(str(tolerance)))


def agree(text: str, other: str) -> bool:
    """Whether the final answers of two texts are equal, in either order; raises as :func:`is_right`."""
    one, two = (final_answer(t) or last_expression(t) for t in (text, other))
    return one is not None and two is not None and same(two, one)


def same(right: str, found: str, *, tolerance: Fraction = Fraction(0)) -> bool:
    """Whether an answer equals the right one; raises as :func:`is_right`."""
    if max(len(right), len(found)) > LONGEST:
        return False
    return _same(normal(right), normal(found), tolerance)


def _same(right: str, found: str, tolerance: Fraction) -> bool:
    right, found = _without_names(right, found)
    if compact(right) == compact(found):
        return bool(right)
    if _RELATION.search(right) or _RELATION.search(found):
        return bool(found) and worker.equal(right, found, tolerance=0.0)
    elements = group(right)
    if elements is not None:
        others = group(found, split_thousands=elements.kind is Kind.LIST) or Group(Kind.LIST, (found,))
        return _same_groups(elements, others, tolerance)
    several = group(found)
    if several is not None and not (len(several.elements) == 1 and several.kind is Kind.SET):
        return False
    right = structure.unwrapped(right)
    found = several.elements[0] if several is not None else structure.unwrapped(found)
    decided = _same_plain(right, found, tolerance)
    return worker.equal(right, found, tolerance=_slack(right, found, tolerance)) if decided is None else decided


def _same_plain(right: str, found: str, tolerance: Fraction) -> bool | None:
    """Whether two numbers, or two texts, are equal; ``None`` if one of them is neither."""
    if compact(right) == compact(found):
        return True
    if not found:
        return False
    expected, number = quantity(right), quantity(found)
    if expected is not None and number is not None:
        return numbers.equal(expected, number, tolerance)
    based, other = _BASED.fullmatch(right), _BASED.fullmatch(found)
    if based is not None or other is not None:
        return based is not None and found in (based[1],)
    if _is_words(right) or (expected is not None and _is_words(found)):
        return compact(right).casefold().strip("()") == compact(found).casefold().strip("()")
    return None


def _is_words(answer: str) -> bool:
    return "\\" not in answer and "=" not in answer and _WORDS.fullmatch(answer) is not None


def _slack(right: str, found: str, tolerance: Fraction) -> float:
    """How far the values of two expressions may lie apart, if one of them is a rounded decimal."""
    decimals = [numbers.rounding(number) for number in map(quantity, (right, found)) if number is not None]
    return float(max([tolerance, *decimals]))


def _without_names(right: str, found: str) -> tuple[str, str]:
    r"""Both answers without what names them, `x =` or `x \in`, unless both are equations for different names."""
    right, found = (_MEMBER.sub("", answer) for answer in (right, found))
    ours, theirs = sides(right), sides(found)
    named = ours is not None and _NAME.fullmatch(ours[0]) is not None
    if ours is None and theirs is not None:
        return right, theirs[1]
    if ours is not None and theirs is None and named:
        return ours[1], found
    if ours is not None and theirs is not None and named and compact(ours[0]) == compact(theirs[0]):
        return ours[1], theirs[1]
    return right, found


def _same_groups(right: Group, found: Group, tolerance: Fraction) -> bool:
    if len(right.elements) != len(found.elements) or right.shape != found.shape:
        return False
    if right.kind is not found.kind and Kind.LIST not in (right.kind, found.kind):
        return False
    if Kind.UNION in (right.kind, found.kind) and right.kind is not found.kind:
        return False
    if right.kind.ordered or found.kind.ordered:
        return all(_same(a, b, tolerance) for a, b in zip(right.elements, found.elements, strict=True))
    left = list(found.elements)
    for element in right.elements:
        match = next((other for other in left if _same(element, other, tolerance)), None)
        if match is None:
            return False
        left.remove(match)
    return True
