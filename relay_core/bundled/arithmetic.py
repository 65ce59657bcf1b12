"""The numbers of the bundled task. A problem's plan is a sequence of small steps with at most one product, and
determines the problem's split.

The groups of problems differ only in the product:

    easy    no product                              47 + 4, 51 - 6, 45 + 100
    medium  one product of two digits by one        51 * 7 = 357
    hard    one product of three digits by three    317 * 468 = 148356

The student learns sums and differences but no products, so the groups separate problems that it can solve alone from
problems for which it must call the teacher.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

Group = Literal["easy", "medium", "hard"]
Split = Literal["train", "dev", "test"]

GROUPS: tuple[Group, ...] = ("easy", "medium", "hard")
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

#: the products of the medium group: two digits by one, three digits in the result
PRODUCTS: tuple[tuple[int, int], ...] = tuple(
    (a, b) for a in range(12, 100) for b in range(3, 10) if a % 10 and a * b >= 100
)


@dataclass(frozen=True)
class Plan:
    """The numbers of one problem: ``(start + sum(changes)) * sum(count) + sum(later_changes)``.

    ``changes`` and ``later_changes`` are signed. ``count`` is empty if the problem has no multiplication. If the
    problem states the count as a sum or a difference, ``count`` holds two numbers, of which the second is signed.
    """

    start: int
    changes: tuple[int, ...]
    count: tuple[int, ...]
    later_changes: tuple[int, ...]

    @property
    def answer(self) -> int:
        """The right answer."""
        total = (self.start + sum(self.changes)) * (sum(self.count) if self.count else 1)
        return total + sum(self.later_changes)

    @property
    def key(self) -> str:
        """The calculation as text. It depends only on the numbers, is part of the problem's id, and determines the
        split."""
        return f"{self.start}{self.changes}{self.count}{self.later_changes}"


def split_of(key: str) -> Split:
    """The split of a calculation, determined by a hash of its key: 90% train, 4% dev, 6% test."""
    bucket = hashlib.sha256(key.encode()).digest()[0] * 100 // 256
    return "train" if bucket < 90 else "dev" if bucket < 94 else "test"


def draw_plan(rng: random.Random, group: Group, *, more_changes: bool) -> Plan:
    """Draw the numbers of a problem.

    Args:
        rng: the source of all draws.
        group: the group of the problem, which determines whether there is a product, and of how many digits.
        more_changes: ``True`` for the family :data:`~relay_core.bundled.wording.HELD_OUT`, whose easy problems begin
            with 2 or 3 changes and whose medium problems have 1 or 2 before and after the product; it has no effect on
            ``hard``.
    """
    if group == "hard":
        while True:
            a, b = rng.randint(213, 989), rng.randint(213, 989)
            if a % 10 and b % 10 and a * b >= 100000:
                return Plan(a, (), (b,), ())
    if group == "easy":
        start = rng.randint(12, 98)
        changes = _changes(rng, start, rng.choice((2, 3) if more_changes else (1, 1, 2, 2, 3)))
        return Plan(start, changes, (), _later_changes(rng, start + sum(changes), rng.choice((0, 0, 1, 1, 2))))
    # Only some products are allowed. The factor is therefore drawn first, and then the changes that lead to it,
    # backwards.
    factor, count = rng.choice(PRODUCTS)
    reversed_changes = _changes(rng, factor, rng.choice((1, 2) if more_changes else (0, 0, 1)))
    start = factor + sum(reversed_changes)
    changes = tuple(-change for change in reversed(reversed_changes))
    later_changes = _later_changes(rng, factor * count, rng.choice((1, 2) if more_changes else (0, 1, 1, 2)))
    return Plan(start, changes, _count(rng, count), later_changes)


def _changes(rng: random.Random, value: int, n: int) -> tuple[int, ...]:
    """``n`` signed changes of 2 to 9, each of which leaves a value from 12 to 99."""
    changes: list[int] = []
    for _ in range(n):
        while True:
            change = rng.choice((-1, 1)) * rng.randint(2, 9)
            if 12 <= value + change <= 99:
                break
        changes.append(change)
        value += change
    return tuple(changes)


def _later_changes(rng: random.Random, value: int, n: int) -> tuple[int, ...]:
    """``n`` signed changes, applied one after another, none of which needs a carry."""
    changes: list[int] = []
    for _ in range(n):
        changes.append(_change_without_carry(rng, value))
        value += changes[-1]
    return tuple(changes)


def _change_without_carry(rng: random.Random, value: int) -> int:
    """A signed change without a carry: whole hundreds, or one digit that changes only the ones."""
    ones, hundreds = value % 10, value // 100
    by_hundreds = [100 * k for k in (1, 2, 3) if hundreds + k <= 9]
    if hundreds >= 2:
        by_hundreds += [-100 * k for k in (1, 2) if hundreds - k >= 1]
    by_ones = [k for k in range(2, 10) if ones + k <= 9] + [-k for k in range(2, 10) if ones - k >= 0]
    return rng.choice(by_ones) if by_ones and rng.random() < 0.4 else rng.choice(by_hundreds or by_ones)


def _count(rng: random.Random, total: int) -> tuple[int, ...]:
    """A count of ``total`` as one number, a sum or a difference; every number is below ten."""
    kind = rng.random()
    if kind < 0.4 and total >= 4:
        added = rng.randint(2, total - 2)
        return (total - added, added)
    if kind < 0.7 and total <= 7:
        subtracted = rng.randint(2, 9 - total)
        return (total + subtracted, -subtracted)
    return (total,)
