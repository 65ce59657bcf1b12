"""The training corpus of the bundled pair: the mix of its texts, and the order of its batches.

The corpus is endless. A chunk depends only on the role, the seed and its index, so a killed run resumes at any batch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from relay_core.bundled import task
from relay_core.bundled.arithmetic import Group
from relay_core.bundled.examples import Example, drill, lookup, problem_example, with_notes
from relay_core.keys import Role

#: the index of a chunk, and the number of its batches that are done
Position = tuple[int, int]
#: texts per chunk; the texts of a chunk are drawn and sorted by length together
CHUNK = 512
#: the number of chunks at the beginning whose problems all have the shortest form, the bare question
BARE_QUESTION_CHUNKS = 8


@dataclass(frozen=True)
class Mix:
    """The mix of texts in the corpus of one model.

    Attributes:
        groups: the share of each group among the problems.
        drills: the share of bare calculations among the texts.
        lookups: the share of look-ups of facts among the texts, from chunk ``lookups_from`` on.
        lookups_from: the first chunk with look-ups.
        history: the share of the problems with an earlier question and answer.
        notes: the share of the problems with notes in the answer, from chunk ``notes_from`` on.
        notes_from: the first chunk with notes.
        whole_facts: whether look-ups have loss on all digits of a fact, or only on its first digit.
    """

    groups: dict[Group, float]
    drills: float
    lookups: float
    lookups_from: int
    history: float
    notes: float = 0.0
    notes_from: int = 0
    whole_facts: bool = False


MIXES: dict[Role, Mix] = {
    "teacher": Mix(
        {"easy": 0.35, "medium": 0.6, "hard": 0.05},
        drills=0.2,
        lookups=0.4,
        lookups_from=10,
        history=0.1,
        notes=0.35,
        notes_from=12,
        whole_facts=True,
    ),
    "student": Mix(
        {"easy": 0.55, "medium": 0.38, "hard": 0.07},
        drills=0.15,
        lookups=0.4,
        lookups_from=20,
        history=0.1,
        notes=0.35,
        notes_from=24,
    ),
}


def batches(
    tokenizer: Any, role: Role, seed: int, batch_tokens: int, start: Position = (0, 0)
) -> Iterator[tuple[list[Example], Position]]:
    """Yield the batches from ``start`` on, endlessly, each with the position after it."""
    index, n_done = start
    while True:
        for i, batch in enumerate(_chunk(tokenizer, role, seed, index, batch_tokens)):
            if i >= n_done:
                yield batch, (index, i + 1)
        index, n_done = index + 1, 0


def _chunk(tokenizer: Any, role: Role, seed: int, index: int, batch_tokens: int) -> list[list[Example]]:
    """Chunk ``index``: batches of texts of similar length, in random order."""
    rng = random.Random(f"relay-bundled/corpus/{role}/{seed}/{index}")
    mix = MIXES[role]
    n_drills = round(CHUNK * mix.drills)
    n_lookups = round(CHUNK * mix.lookups) if index >= mix.lookups_from else 0
    problems = task.problems(
        CHUNK - n_drills - n_lookups,
        form="question" if index < BARE_QUESTION_CHUNKS else None,
        seed=rng.randrange(10**9),
        mix=mix.groups,
    )
    examples = [problem_example(tokenizer, p, role, rng, history=mix.history) for p in problems]
    if mix.notes and index >= mix.notes_from:
        examples = [with_notes(tokenizer, e, rng) if rng.random() < mix.notes else e for e in examples]
    examples += [drill(tokenizer, role, rng) for _ in range(n_drills)]
    examples += [lookup(tokenizer, rng, all_digits=mix.whole_facts) for _ in range(n_lookups)]
    examples.sort(key=lambda example: len(example.ids))
    grouped: list[list[Example]] = [[]]
    for example in examples:
        if grouped[-1] and (len(grouped[-1]) + 1) * len(example.ids) > batch_tokens:
            grouped.append([])
        grouped[-1].append(example)
    rng.shuffle(grouped)
    return grouped
