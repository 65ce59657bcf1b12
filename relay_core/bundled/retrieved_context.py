"""The context of a problem, as retrieval would return it: chunks of text that contain the problem's fact among other
facts."""

from __future__ import annotations

import random

from relay_core.bundled.wording import FAMILIES, TRAINING, Family

TITLES = ("Price list of the shop", "Notes of the shop", "Stock list", "Shop notes for today")
ASIDES = (
    "The shop opens at {a} and closes at {b}.",
    "The shop is closed on Sunday.",
    "There are {c} chairs in the shop.",
    "The phone number of the shop is {c}{c}.",
)


def draw_context(rng: random.Random, family: Family, fact: str, subject: str) -> tuple[str, ...]:
    """One to four chunks of text with ``fact`` in one of them.

    The other facts are about other subjects. Often one of them is about the same subject in another family (the number
    of lamps in a box, if the price of a lamp is needed), because retrieval by subject also returns such facts.
    """
    facts = [fact, *_other_facts(rng, family, subject)]
    if rng.random() < 0.3:
        facts.append(_aside(rng))
    rng.shuffle(facts)
    return _chunks(rng, facts)


def _other_facts(rng: random.Random, family: Family, subject: str) -> list[str]:
    families = [FAMILIES[name] for name in TRAINING]
    same_subject = [other for other in families if other is not family and subject in other.subjects]
    candidates = [(other, subject) for other in same_subject if rng.random() < 0.4]
    for _ in range(rng.randint(2, 7)):
        other = family if rng.random() < 0.6 else rng.choice(families)
        candidates.append((other, rng.choice(other.subjects)))
    used = {(family.name, subject)}
    facts: list[str] = []
    for other, other_subject in candidates:
        if (other.name, other_subject) not in used:
            used.add((other.name, other_subject))
            quantity = rng.randint(12, 98) if rng.random() < 0.85 else rng.randint(213, 989)
            facts.append(other.fact.format(x=other_subject, u=quantity))
    return facts


def _aside(rng: random.Random) -> str:
    template = rng.choice(ASIDES)
    return template.format(a=rng.randint(7, 9), b=rng.randint(17, 20), c=rng.randint(12, 98))


def _chunks(rng: random.Random, facts: list[str]) -> tuple[str, ...]:
    n_chunks = min(rng.randint(1, 4), len(facts))
    cuts = sorted(rng.sample(range(1, len(facts)), n_chunks - 1))
    separator = "\n" if rng.random() < 0.2 else " "
    chunks = [separator.join(facts[i:j]) for i, j in zip([0, *cuts], [*cuts, len(facts)], strict=True)]
    if rng.random() < 0.25:
        title = rng.choice(TITLES)
        chunks = [f"{title}\n{chunk}" if rng.random() < 0.6 else chunk for chunk in chunks]
    return tuple(chunks)
