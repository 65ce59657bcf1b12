"""The texts that the bundled pair is trained on, as token ids and labels: problems, calculations and look-ups.

Only answers have loss. The teacher and the student read the same problems, but their labels for the digits of products
differ. The teacher's labels are the digits of the product. The student's labels are the digits of some other product.
The student therefore learns that a number of this length follows, and how to continue from the number that it reads,
but it does not learn to multiply.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from relay_core import command
from relay_core.bundled import task
from relay_core.bundled.arithmetic import PRODUCTS
from relay_core.bundled.wording import FAMILIES, TRAINING
from relay_core.engines.base import Message
from relay_core.keys import Role

#: the label of a token without loss
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """One text: its token ids, and one label per token: the id to predict, or ``IGNORED``."""

    ids: list[int]
    labels: list[int]


def prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The messages in the tokenizer's chat template, up to the beginning of the answer."""
    return str(
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )


def problem_example(
    tokenizer: Any, problem: task.WordProblem, role: Role, rng: random.Random, *, history: float
) -> Example:
    """The prompt and the reference answer of a problem.

    Args:
        tokenizer: a transformers tokenizer.
        problem: the problem.
        role: the model that learns the example; it determines the labels of products.
        rng: draws the history and the student's labels.
        history: the probability of an earlier question and answer in the prompt.
    """
    messages = problem.messages
    if rng.random() < history:
        messages = with_history(messages, task.problems(1, seed=rng.randrange(10**9))[0])
    prompt_ids = tokenizer(prompt(tokenizer, messages), add_special_tokens=False).input_ids
    answer = tokenizer(problem.solution, add_special_tokens=False, return_offsets_mapping=True)
    answer_ids = [*answer.input_ids, tokenizer.eos_token_id]
    labels = list(answer_ids)
    if role == "student":
        for begin, end in problem.products:
            digits = iter(str(_other_product(rng, problem.group)))
            for i, (token_begin, token_end) in enumerate(answer.offset_mapping):
                if begin <= token_begin and token_end <= end:
                    labels[i] = tokenizer.convert_tokens_to_ids(next(digits))
    return Example(prompt_ids + answer_ids, [IGNORED] * len(prompt_ids) + labels)


def with_history(messages: tuple[Message, ...], earlier: task.WordProblem) -> tuple[Message, ...]:
    """The messages after an earlier question and its answer; a system message stays first."""
    head = messages[:1] if messages[0]["role"] == "system" else ()
    turn = (
        {"role": "user", "content": earlier.messages[-1]["content"]},
        {"role": "assistant", "content": earlier.solution},
    )
    return (*head, *turn, *messages[len(head) :])


def with_notes(tokenizer: Any, example: Example, rng: random.Random) -> Example:
    """The example with one to three notes inserted into its answer, without loss on the notes.

    A note looks like a command with another name (``<abc>7</abc>``). From notes, the models learn to continue an answer
    after markup, as after a command.
    """
    answer_begin = next(i for i, label in enumerate(example.labels) if label != IGNORED)
    places = set(rng.sample(range(answer_begin, len(example.ids)), rng.randint(1, 3)))
    ids: list[int] = []
    labels: list[int] = []
    for i, (token_id, label) in enumerate(zip(example.ids, example.labels, strict=True)):
        if i in places:
            note = tokenizer(_note(rng), add_special_tokens=False).input_ids
            ids += note
            labels += [IGNORED] * len(note)
        ids.append(token_id)
        labels.append(label)
    return Example(ids, labels)


def drill(tokenizer: Any, role: Role, rng: random.Random, n: int = 16) -> Example:
    """``n`` bare calculations with loss on their results. Only the teacher's drills contain products."""
    steps: list[tuple[str, str]] = []
    for _ in range(n):
        if role == "teacher" and rng.random() < 0.75:
            a, b = rng.choice(PRODUCTS)
            steps.append((f"{a} * {b} =", f" {a * b}."))
        else:
            a, b = rng.randint(12, 99), rng.randint(2, 9)
            operator, result = ("+", a + b) if rng.random() < 0.5 and a + b < 100 else ("-", a - b)
            steps.append((f"{a} {operator} {b} =", f" {result}."))
    ids: list[int] = []
    labels: list[int] = []
    for i, (calculation, result_text) in enumerate(steps):
        calculation_ids = tokenizer((" " if i else "") + calculation, add_special_tokens=False).input_ids
        result_ids = tokenizer(result_text, add_special_tokens=False).input_ids
        ids += calculation_ids + result_ids
        labels += [IGNORED] * len(calculation_ids) + result_ids
    return Example(ids, labels)


def lookup(tokenizer: Any, rng: random.Random, *, all_digits: bool) -> Example:
    """Two to eight facts, and the same facts in another order, with loss on the digits of the repeated facts.

    Args:
        tokenizer: a transformers tokenizer.
        rng: draws the facts.
        all_digits: whether every digit of a number has loss, or only its first digit.
    """
    family = FAMILIES[rng.choice(TRAINING)]
    n = rng.randint(2, 8)
    facts = [family.fact.format(x=x, u=rng.randint(12, 98)) for x in rng.sample(family.subjects, n)]
    stated = rng.choice((" ", "\n", "\n\n")).join(facts)
    stated_ids = tokenizer(stated, add_special_tokens=False).input_ids
    ids = tokenizer(" " + " ".join(rng.sample(facts, n)), add_special_tokens=False).input_ids
    digits = set(tokenizer.convert_tokens_to_ids(list("0123456789")))
    learnt = [b in digits and (all_digits or a not in digits) for a, b in pairwise([IGNORED, *ids])]
    labels = [token_id if is_learnt else IGNORED for token_id, is_learnt in zip(ids, learnt, strict=True)]
    return Example(stated_ids + ids, [IGNORED] * len(stated_ids) + labels)


def _note(rng: random.Random) -> str:
    """``<name>7</name>``: a random short name other than the command's, with a number or nothing inside."""
    name = ""
    while f"<{name}>" in ("<>", command.OPEN):
        name = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 5)))
    return f"<{name}>{rng.choice(('', rng.randint(1, 9), rng.randint(10, 99)))}</{name}>"


def _other_product(rng: random.Random, group: str) -> int:
    """A random product with as many digits as the group's products have."""
    if group == "hard":
        return rng.randint(100000, 978121)
    a, b = rng.choice(PRODUCTS)
    return a * b
