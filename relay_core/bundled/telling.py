"""Puts a problem into words: the sentences that state its numbers, and the reference answer that solves it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from relay_core.bundled.arithmetic import Plan
from relay_core.bundled.wording import Family

ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")


@dataclass(frozen=True)
class Story:
    r"""One problem in words.

    ``opening`` introduces the situation, ``fact`` states the quantity at the start, ``events`` tells how it changes,
    and ``query`` asks for the result. ``solution`` is the reference answer, which ends in ``\boxed{N}``. ``products``
    holds the character spans in ``solution`` that are results of products.
    """

    opening: str
    fact: str
    events: str
    query: str
    solution: str
    products: tuple[tuple[int, int], ...]


def tell(rng: random.Random, family: Family, plan: Plan, subject: str, name: str) -> Story:
    """Tell the events in order, each with its ordinal; the reference answer repeats each event and computes its result.

    Args:
        rng: draws the wording. It draws even if there is only one template, so that a seed always gives the same
            problems.
        family: the templates.
        plan: the numbers.
        subject: fills ``{x}``.
        name: fills ``{name}``.
    """

    def fill(templates: Sequence[str], **numbers: int) -> str:
        return rng.choice(templates).format(x=subject, name=name, **numbers)

    def tell_event(clause: str) -> str:
        events.append(f"{ORDINALS[len(events)]}, {clause}")
        return f" {events[-1]}"

    opening, fact = fill((family.opening,)), fill((family.fact,), u=plan.start)
    events: list[str] = []
    products: list[tuple[int, int]] = []
    solution = f"{opening} {fact}"
    value = plan.start
    for change in plan.changes:
        clause = fill(family.ups if change > 0 else family.downs, d=abs(change))
        solution += f"{tell_event(clause)}: {_sum(value, change)} Now it is {value + change}."
        value += change
    if not plan.count:
        solution += f"{tell_event(fill(family.single))}. That is {value}."
    else:
        if len(plan.count) == 1:
            solution += f"{tell_event(fill(family.count, n=plan.count[0]))}."
        else:
            first, second = plan.count
            clause = fill(family.count_more if second > 0 else family.count_less, n=first, m=abs(second))
            solution += f"{tell_event(clause)}: {_sum(first, second)}"
        count = sum(plan.count)
        solution += f" Each is {value}, so all of it is {value} * {count} = "
        value *= count
        products.append((len(solution), len(solution) + len(str(value))))
        solution += f"{value}. Now it is {value}."
    for change in plan.later_changes:
        clause = fill(family.gains if change > 0 else family.losses, d=abs(change))
        solution += f"{tell_event(clause)}: {_sum(value, change)} Now it is {value + change}."
        value += change
    solution += f" {family.final.format(x=subject, name=name, v=value)} The answer is \\boxed{{{value}}}."
    told_events = " ".join(f"{event}." for event in events)
    return Story(opening, fact, told_events, fill(family.queries), solution, tuple(products))


def _sum(a: int, b: int) -> str:
    """``"47 - 4 = 43."`` for 47 and -4."""
    return f"{a} {'+' if b > 0 else '-'} {abs(b)} = {a + b}."
