"""What the bundled pair is trained on: problems and drills as ids and labels, in batches.

Loss falls on answers only. The student and the teacher read the same problems; they differ in the
digits of products. The teacher's targets are the true ones. The student's are the digits of some
other product, while it goes on reading the true ones: it learns that a number of that length stands
there, and to carry a given product on correctly, but never which product it is.

Every chunk of the corpus is drawn from (seed, its index) alone, so a killed run goes on where it
was.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from relay_core import command
from relay_core.bundled import arithmetic, task, wording
from relay_core.engines.base import Message

Role = Literal["teacher", "student"]
Position = tuple[int, int]
"""A chunk, and how many of its batches are done."""
IGNORED = -100
CHUNK = 512
"""Texts drawn, and sorted by length, at a time."""
FIRST = 8
"""Chunks at the beginning that hold bare questions only, the shortest form."""


@dataclass(frozen=True)
class Example:
    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Mix:
    """What one role's corpus is made of: shares of the drawn texts, and groups of the problems."""

    groups: dict[arithmetic.Group, float]
    drills: float  # share of the texts that are calculations
    lookups: float  # share of the texts that look up facts, once they begin
    lookups_from: int  # the chunk in which they begin
    history: float  # share of the problems with an earlier question and answer
    notes: float = 0.0  # share of the problems with notes in the answer, once they begin
    notes_from: int = 0  # the chunk in which they begin
    whole_facts: bool = False  # whether lookups teach all digits of a fact, or its first one


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


def prompt(tokenizer: Any, messages: tuple[Message, ...]) -> str:
    return str(
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )


def encode(tokenizer: Any, p: task.WordProblem, role: Role, rng: random.Random, mix: Mix) -> Example:
    """The prompt and the answer of a problem; see the module for the labels of products."""
    messages = p.messages
    if rng.random() < mix.history:
        messages = with_history(messages, task.problems(1, seed=rng.randrange(10**9))[0])
    start = tokenizer(prompt(tokenizer, messages), add_special_tokens=False).input_ids
    answer = tokenizer(p.solution, add_special_tokens=False, return_offsets_mapping=True)
    ids = [*answer.input_ids, tokenizer.eos_token_id]
    labels = list(ids)
    if role == "student":
        for begin, end in p.products:
            digits = iter(str(other_product(rng, p.group)))
            for i, (a, b) in enumerate(answer.offset_mapping):
                if begin <= a and b <= end:
                    labels[i] = tokenizer.convert_tokens_to_ids(next(digits))
    return Example(start + ids, [IGNORED] * len(start) + labels)


def with_notes(tokenizer: Any, e: Example, rng: random.Random) -> Example:
    """The example with one to three notes before random tokens of its answer; no loss on the notes."""
    first = next(i for i, label in enumerate(e.labels) if label != IGNORED)
    places = set(rng.sample(range(first, len(e.ids)), rng.randint(1, 3)))
    ids: list[int] = []
    labels: list[int] = []
    for i, (id_, label) in enumerate(zip(e.ids, e.labels, strict=True)):
        if i in places:
            note = tokenizer(note_text(rng), add_special_tokens=False).input_ids
            ids += note
            labels += [IGNORED] * len(note)
        ids.append(id_)
        labels.append(label)
    return Example(ids, labels)


def note_text(rng: random.Random) -> str:
    """`<name>7</name>`: any short name but the command's, a number or nothing within."""
    name = ""
    while f"<{name}>" in ("<>", command.OPEN):
        name = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 5)))
    return f"<{name}>{rng.choice(('', rng.randint(1, 9), rng.randint(10, 99)))}</{name}>"


def with_history(messages: tuple[Message, ...], earlier: task.WordProblem) -> tuple[Message, ...]:
    """The messages after an earlier question and its answer, the system message staying first."""
    head = messages[:1] if messages[0]["role"] == "system" else ()
    turn = (
        {"role": "user", "content": earlier.messages[-1]["content"]},
        {"role": "assistant", "content": earlier.solution},
    )
    return (*head, *turn, *messages[len(head) :])


def other_product(rng: random.Random, group: str) -> int:
    if group == "hard":
        return rng.randint(100000, 978121)
    a, b = rng.choice(arithmetic.PRODUCTS)
    return a * b


def drill(tokenizer: Any, role: Role, rng: random.Random, n: int = 16) -> Example:
    """`n` bare calculations in a row; only their results are learnt. Products for the teacher."""
    steps: list[tuple[str, str]] = []
    for _ in range(n):
        if role == "teacher" and rng.random() < 0.75:
            a, b = rng.choice(arithmetic.PRODUCTS)
            steps.append((f"{a} * {b} =", f" {a * b}."))
        else:
            a, b = rng.randint(12, 99), rng.randint(2, 9)
            op, c = ("+", a + b) if rng.random() < 0.5 and a + b < 100 else ("-", a - b)
            steps.append((f"{a} {op} {b} =", f" {c}."))
    ids: list[int] = []
    labels: list[int] = []
    for i, (question, result) in enumerate(steps):
        q = tokenizer((" " if i else "") + question, add_special_tokens=False).input_ids
        r = tokenizer(result, add_special_tokens=False).input_ids
        ids += q + r
        labels += [IGNORED] * len(q) + r
    return Example(ids, labels)


def lookup(tokenizer: Any, rng: random.Random, *, whole: bool = False) -> Example:
    """Two to eight facts, and the same in another order; only the digits there are learnt, or the first of each."""
    f = wording.FAMILIES[rng.choice(wording.TRAINING)]
    n = rng.randint(2, 8)
    facts = [f.fact.format(x=x, u=rng.randint(12, 98)) for x in rng.sample(f.subjects, n)]
    lines = rng.choice((" ", "\n", "\n\n")).join(facts)
    told = tokenizer(lines, add_special_tokens=False).input_ids
    ids = tokenizer(" " + " ".join(rng.sample(facts, n)), add_special_tokens=False).input_ids
    digits = set(tokenizer.convert_tokens_to_ids(list("0123456789")))
    learnt = [b in digits and (whole or a not in digits) for a, b in pairwise([IGNORED, *ids])]
    labels = [i if wanted else IGNORED for i, wanted in zip(ids, learnt, strict=True)]
    return Example(told + ids, [IGNORED] * len(told) + labels)


def chunk(tokenizer: Any, role: Role, seed: int, index: int, batch_tokens: int) -> list[list[Example]]:
    """Chunk `index` of the corpus, as batches of texts of like length in random order."""
    rng = random.Random(f"relay-bundled/corpus/{role}/{seed}/{index}")
    mix = MIXES[role]
    n_drills = round(CHUNK * mix.drills)
    n_lookups = round(CHUNK * mix.lookups) if index >= mix.lookups_from else 0
    drawn = task.problems(
        CHUNK - n_drills - n_lookups,
        form="question" if index < FIRST else None,
        seed=rng.randrange(10**9),
        mix=mix.groups,
    )
    examples = [encode(tokenizer, p, role, rng, mix) for p in drawn]
    if mix.notes and index >= mix.notes_from:
        examples = [with_notes(tokenizer, e, rng) if rng.random() < mix.notes else e for e in examples]
    examples += [drill(tokenizer, role, rng) for _ in range(n_drills)]
    examples += [lookup(tokenizer, rng, whole=mix.whole_facts) for _ in range(n_lookups)]
    examples.sort(key=lambda e: len(e.ids))
    batches: list[list[Example]] = [[]]
    for e in examples:
        if batches[-1] and (len(batches[-1]) + 1) * len(e.ids) > batch_tokens:
            batches.append([])
        batches[-1].append(e)
    rng.shuffle(batches)
    return batches


def batches(
    tokenizer: Any, role: Role, seed: int, batch_tokens: int, start: Position = (0, 0)
) -> Iterator[tuple[list[Example], Position]]:
    """The corpus without end from `start` on; with each batch, the position after it."""
    index, done = start
    while True:
        for i, batch in enumerate(chunk(tokenizer, role, seed, index, batch_tokens)):
            if i >= done:
                yield batch, (index, i + 1)
        index, done = index + 1, 0
