"""Word problems in free wording: the task of a real student, easy enough for a teacher of 1.5 billion parameters.

A problem has one calculation. The text decides what to calculate, and two or three tokens of the answer decide whether
it is right. Numbers are small (``easy``) or have two digits (``hard``). The kind of calculation and its numbers decide
the split, so no two splits share one, even in other words.

The family ``area`` and the last wording of every family are held out: they are in the split ``unseen`` only.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.evaluate.graders import last_number, number
from relay_core.evaluate.task import Problem

STYLE = "Answer in full sentences: say what is given, calculate, and then give the result."
GROUPS = ("easy", "hard")
MIX: Mapping[str, float] = {"easy": 0.4, "hard": 0.6}
SPLITS: Mapping[str, range] = {"train": range(70), "dev": range(70, 80), "test": range(80, 100)}
UNSEEN = "unseen"
_NAMES = (
    "Ana",
    "Tom",
    "Mia",
    "Leo",
    "Nora",
    "Ben",
    "Zoe",
    "Max",
    "Ida",
    "Sam",
    "Eva",
    "Jon",
    "Lea",
    "Paul",
    "Ruth",
    "Kai",
)
_THINGS = (
    "cards",
    "coins",
    "pencils",
    "stamps",
    "books",
    "apples",
    "marbles",
    "shells",
    "nails",
    "buttons",
    "cups",
    "eggs",
)
Numbers = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of calculation.

    ``wordings``: templates with ``{name}``, ``{things}``, ``{a}`` and ``{b}``; the last one is held out. ``easy``,
    ``hard``: draw the two numbers. ``result``: computes the answer.
    """

    wordings: Sequence[str]
    easy: Callable[[random.Random], Numbers]
    hard: Callable[[random.Random], Numbers]
    result: Callable[[int, int], int]


def _between(low: int, high: int, low_b: int, high_b: int) -> Callable[[random.Random], Numbers]:
    return lambda rng: (rng.randint(low, high), rng.randint(low_b, high_b))


FAMILIES: Mapping[str, Family] = {
    "more": Family(
        (
            "{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?",
            "There are {a} {things} in a drawer. {name} puts {b} more into it. How many are there then?",
            "In the morning {name} counts {a} {things}, and in the evening {b} others. How many are they together?",
            "{name} collected {a} {things} last year and {b} this year. How many {things} is that in all?",
            "A shelf holds {a} {things}. After {name} has added {b}, how many {things} does it hold?",
        ),
        _between(2, 12, 1, 8), _between(23, 89, 14, 78), lambda a, b: a + b,
    ),
    "less": Family(
        (
            "{name} has {a} {things} and gives away {b}. How many {things} are left?",
            "Of {a} {things}, {name} sells {b}. How many remain?",
            "There were {a} {things} on the table. {name} took {b} of them. How many are still there?",
            "{name} needs {a} {things} and already has {b}. How many are missing?",
            "A bag held {a} {things}, but {b} fell out on {name}'s way home. How many are in the bag now?",
        ),
        lambda rng: (rng.randint(6, 15), rng.randint(1, 5)), lambda rng: (rng.randint(61, 99), rng.randint(13, 58)),
        lambda a, b: a - b,
    ),
    "boxes": Family(
        (
            "{name} buys {a} boxes of {things}. Each box holds {b} {things}. How many {things} does {name} have?",
            "There are {b} {things} in every box, and {name} has {a} boxes. How many {things} is that?",
            "{name} packs {b} {things} into each of {a} bags. How many {things} does {name} pack?",
            "Each of {a} children brings {b} {things}. How many {things} do they bring together?",
            "{a} rows with {b} {things} in each row: how many {things} does {name} see?",
        ),
        _between(2, 5, 2, 5), _between(3, 9, 12, 48), lambda a, b: a * b,
    ),
    "times": Family(
        (
            "What is {b} times {a}?",
            "How much is {a} multiplied by {b}?",
            "{name} multiplies {b} by {a}. What does {name} get?",
            "Calculate the product of {a} and {b}.",
            "Find {a} x {b} for {name}.",
        ),
        _between(2, 5, 2, 10), _between(3, 9, 12, 98), lambda a, b: a * b,
    ),
    "per cent": Family(
        (
            "What is {a}% of {b}?",
            "{name} has {b} {things}, and {a}% of them are new. How many are new?",
            "{a}% of {b} {things} are broken. How many {things} are broken?",
            "A box of {b} {things} is {a}% full of {name}'s. How many are {name}'s?",
            "Out of {b} {things}, {name} keeps {a}%. How many does {name} keep?",
        ),
        lambda rng: (rng.choice((10, 50)), 10 * rng.randint(1, 12)),
        lambda rng: (rng.choice((5, 20, 25, 40, 75)), 20 * rng.randint(3, 24)), lambda a, b: a * b // 100,
    ),
    "area": Family(
        (
            "A rectangle is {b} cm long and {a} cm wide. What is its area in square centimetres?",
            "{name}'s garden is {a} m wide and {b} m long. How many square metres is that?",
            "How large is a floor of {b} m by {a} m, in square metres?",
        ),
        _between(2, 5, 2, 6), _between(4, 9, 12, 40), lambda a, b: a * b,
    ),
}  # fmt: skip
HELD_OUT = "area"
TRAINED = tuple(name for name in FAMILIES if name != HELD_OUT)


class WordProblems:
    """The task ``word-problems``, and a benchmark (:mod:`relay_core.evaluate.benchmarks`)."""

    name = "word-problems"
    title = "Word problems"
    groups = GROUPS
    samples = 1
    settings: ClassVar[Mapping[str, Any]] = {"max_tokens": 200}

    def __init__(self, *, data_dir: str | Path | None = None) -> None:
        """``data_dir`` is not used: nothing is read."""

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> list[Problem]:
        """Draw ``n`` different problems. The same arguments always draw the same problems.

        Args:
            split: ``train``, ``dev``, ``test``, or ``unseen`` (the held-out family and wordings, with numbers of the
                split ``test``).
            n: the number of problems; required.
            seed: determines which problems are drawn.
            mix: the share of each group; 40% easy and 60% hard by default. Shares are exact, up to one problem.

        Raises:
            ConfigurationError: the split or a group is unknown, ``n`` is missing, or there are too few problems.
        """
        if split not in (*SPLITS, UNSEEN):
            raise ConfigurationError(f"{self.name} has no split {split!r}; {did_you_mean(split, [*SPLITS, UNSEEN])}")
        if n is None:
            raise ConfigurationError(f"{self.name} draws any number of problems: say how many")
        shares = dict(MIX if mix is None else mix)
        for group in shares:
            if group not in GROUPS:
                raise ConfigurationError(f"{self.name} has no group {group!r}; {did_you_mean(group, GROUPS)}")
        rng = random.Random(f"{self.name}/{split}/{seed}")
        total = sum(shares.values())
        drawn: dict[str, Problem] = {}
        due = dict.fromkeys(shares, 0.0)
        for i in range(n):
            due = {group: value + shares[group] / total for group, value in due.items()}
            group = max(due, key=lambda name: due[name])
            due[group] -= 1
            problem = self._another(rng, split, group, i, drawn)
            drawn[str(problem.messages[0]["content"])] = problem
        return list(drawn.values())

    def _another(self, rng: random.Random, split: str, group: str, i: int, drawn: Mapping[str, Problem]) -> Problem:
        """A problem that is not drawn yet."""
        names = TRAINED if split != UNSEEN else (HELD_OUT, *TRAINED) if i % 2 else (HELD_OUT,)
        for _ in range(2000):
            kind = rng.choice(names)
            family = FAMILIES[kind]
            a, b = (family.easy if group == "easy" else family.hard)(rng)
            if not _is_in(split, kind, a, b):
                continue
            wordings = range(len(family.wordings) - 1)
            if split == UNSEEN:
                wordings = range(len(family.wordings)) if kind == HELD_OUT else range(len(family.wordings))[-1:]
            wording = rng.choice(wordings)
            name, things = rng.choice(_NAMES), rng.choice(_THINGS)
            identity = f"{split}/{kind}/{wording}/{a}-{b}/{name}/{things}"
            question = f"{family.wordings[wording].format(name=name, things=things, a=a, b=b)} {STYLE}"
            if question not in drawn:
                message = {"role": "user", "content": question}
                return Problem(id=identity, messages=(message,), answer=str(family.result(a, b)), group=group,
                               cluster=_calculation(kind, a, b))  # fmt: skip
        raise ConfigurationError(f"{self.name} has too few different {group} problems in the split {split}")

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether the last number of ``text`` is the answer."""
        return number(text, problem.answer)

    def answer_in(self, text: str) -> str | None:
        """The last number of ``text``."""
        found = last_number(text)
        return None if found is None else str(found)


class UnseenWordProblems(WordProblems):
    """``word-problems-unseen``: the held-out family and wordings, as the split ``test``."""

    name = "word-problems-unseen"
    title = "Word problems, unseen"

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> list[Problem]:
        if split != "test":
            raise ConfigurationError(f"{self.name} has one split, test: train on word-problems")
        return super().problems(UNSEEN, n, seed=seed, mix=mix)


def _calculation(kind: str, a: int, b: int) -> str:
    """The calculation of a problem, such as ``product/3/5``; sums and products are the same in any order."""
    operation = {"more": "sum", "less": "difference", "per cent": "per cent"}.get(kind, "product")
    low, high = (a, b) if operation in ("difference", "per cent") else sorted((a, b))
    return f"{operation}/{low}/{high}"


def _is_in(split: str, kind: str, a: int, b: int) -> bool:
    """Whether the numbers of a calculation belong to a split."""
    place = int.from_bytes(hashlib.sha256(_calculation(kind, a, b).encode()).digest()[:4], "big") % 100
    return place in SPLITS["test" if split == UNSEEN else split]
