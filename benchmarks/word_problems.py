"""Word problems with one calculation each, as tasks: seven families of wording, with large or small numbers.

    python benchmarks/triggers.py --prompts benchmarks.word_problems:SmallNumbers ...

A small model knows what to calculate, and often gets the result wrong: two or three tokens of the answer decide.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from relay_core.errors import ConfigurationError
from relay_core.evaluate.graders import number
from relay_core.evaluate.task import Problem

#: a question and its answer, from a random generator and whether the numbers are small
Family = Callable[[random.Random, bool], tuple[str, int]]


def _more(rng: random.Random, small: bool) -> tuple[str, int]:
    a, b = (rng.randint(2, 9) if small else rng.randint(12, 60) for _ in range(2))
    return f"Ana has {a} cards and gets {b} more. How many cards does she have now?", a + b


def _less(rng: random.Random, small: bool) -> tuple[str, int]:
    a, b = (rng.randint(6, 18), rng.randint(1, 5)) if small else (rng.randint(60, 99), rng.randint(12, 50))
    return f"Tom has {a} coins and gives away {b}. How many coins are left?", a - b


def _boxes(rng: random.Random, small: bool) -> tuple[str, int]:
    a, b = (rng.randint(2, 9), rng.randint(2, 5)) if small else (rng.randint(3, 9), rng.randint(3, 9))
    return f"Mia buys {a} boxes of pencils. Each box holds {b} pencils. How many pencils does she have?", a * b


def _large_boxes(rng: random.Random, small: bool) -> tuple[str, int]:
    a, b = rng.randint(2, 9), 10 * rng.randint(1, 9) if small else rng.randint(12, 49)
    return f"Leo buys {a} boxes of nails. Each box holds {b} nails. How many nails does he have?", a * b


def _times(rng: random.Random, small: bool) -> tuple[str, int]:
    a, b = (rng.randint(2, 12), rng.randint(2, 5)) if small else (rng.randint(12, 99), rng.randint(3, 9))
    return f"What is {a} times {b}?", a * b


def _per_cent(rng: random.Random, small: bool) -> tuple[str, int]:
    share, base = (rng.choice((10, 50)), 10 * rng.randint(1, 20)) if small else (25, 4 * rng.randint(10, 100))
    return f"What is {share}% of {base}?", share * base // 100


def _area(rng: random.Random, small: bool) -> tuple[str, int]:
    a, b = (rng.randint(2, 9), rng.randint(2, 6)) if small else (rng.randint(3, 30), rng.randint(3, 30))
    return f"A rectangle is {a} cm long and {b} cm wide. What is its area?", a * b


FAMILIES: Mapping[str, Family] = {
    "more": _more, "less": _less, "boxes": _boxes, "large boxes": _large_boxes, "times": _times,
    "per cent": _per_cent, "area": _area,
}  # fmt: skip


class LargeNumbers:
    """Word problems with numbers of two digits."""

    name = "word problems"
    groups: Sequence[str] = tuple(FAMILIES)
    small = False

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> list[Problem]:
        """``n`` different problems (70 by default), one family after the other, with numbers drawn at random.

        Raises:
            ConfigurationError: ``mix`` was given, or a family has too few different problems.
        """
        if mix is not None:
            raise ConfigurationError(f"the task {self.name} has as many problems of each family: leave out mix")
        rng = random.Random(f"{self.name}/{split}/{seed}")
        drawn: dict[str, Problem] = {}
        while len(drawn) < (70 if n is None else n):
            group = self.groups[len(drawn) % len(self.groups)]
            question, answer = self._another(rng, group, drawn)
            message = {"role": "user", "content": question}
            name = f"{split}-{seed}-{len(drawn)}"
            drawn[question] = Problem(id=name, messages=(message,), answer=str(answer), group=group)
        return list(drawn.values())

    def _another(self, rng: random.Random, group: str, drawn: Mapping[str, Problem]) -> tuple[str, int]:
        for _ in range(1000):
            question, answer = FAMILIES[group](rng, self.small)
            if question not in drawn:
                return question, answer
        raise ConfigurationError(f"the task {self.name} has too few different problems of the family {group}")

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether the last number of ``text`` is the answer."""
        return number(text, problem.answer)


class SmallNumbers(LargeNumbers):
    """The same problems with small and round numbers."""

    name = "word problems with small numbers"
    small = True
