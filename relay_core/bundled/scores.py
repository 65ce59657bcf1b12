"""The scores of a bundled model: pass rates on held-out problems by group, form and family.

The answers are decoded greedily by transformers' ``generate`` in padded batches, without a relay or an engine.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from relay_core.bundled.examples import prompt
from relay_core.bundled.task import WordProblem, grade


def scores(model: Any, tokenizer: Any, problems: Sequence[WordProblem]) -> dict[str, Any]:
    """Pass rates by group, by group and form, and by group and family; also the median answer length in tokens."""
    outcomes: dict[str, list[bool]] = defaultdict(list)
    lengths: list[int] = []
    for problem, ids in zip(problems, answer_ids(model, tokenizer, problems), strict=True):
        is_right = grade(tokenizer.decode(ids), problem.answer)
        for key in (problem.group, f"{problem.group}/{problem.form}", f"{problem.group}/{problem.family}"):
            outcomes[key].append(is_right)
        lengths.append(len(ids))
    return {
        "pass_rate": {key: round(sum(right) / len(right), 4) for key, right in sorted(outcomes.items())},
        "problems": len(problems),
        "median_answer_tokens": statistics.median(lengths),
    }


def answer_ids(
    model: Any, tokenizer: Any, problems: Sequence[WordProblem], *, max_tokens: int = 320, batch: int = 100
) -> list[list[int]]:
    """The ids of the model's greedy answer to each problem, with the end token if the model wrote it."""
    import torch

    prompts = [tokenizer(prompt(tokenizer, p.messages), add_special_tokens=False).input_ids for p in problems]
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, list[int]] = {}
    for begin in range(0, len(by_length), batch):
        chosen = by_length[begin : begin + batch]
        padded = tokenizer.pad({"input_ids": [prompts[i] for i in chosen]}, padding_side="left", return_tensors="pt")
        with torch.no_grad():
            output = model.generate(**padded, max_new_tokens=max_tokens, do_sample=False)
        for i, row in zip(chosen, output[:, padded["input_ids"].shape[1] :].tolist(), strict=True):
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else None
            answers[i] = row[:end]
    return [answers[i] for i in range(len(prompts))]
