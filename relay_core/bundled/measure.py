"""What a bundled model scores: pass rates on held-out problems by group, form and family.

Greedy, with a plain batched loop over a key-value cache; no relay, no engine.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from relay_core.bundled import corpus, task


def answers(
    model: Any,
    tokenizer: Any,
    problems: list[task.WordProblem],
    *,
    max_tokens: int = 320,
    batch: int = 100,
    temperature: float = 0.0,
) -> list[list[int]]:
    """The ids that the model answers with, the end token included where it came."""
    import torch

    prompts = [tokenizer(corpus.prompt(tokenizer, p.messages), add_special_tokens=False).input_ids for p in problems]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, list[int]] = {}
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    for begin in range(0, len(order), batch):
        chosen = order[begin : begin + batch]
        padded = tokenizer.pad({"input_ids": [prompts[i] for i in chosen]}, padding_side="left", return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**padded, max_new_tokens=max_tokens, **(sampling or {"do_sample": False}))
        for i, row in zip(chosen, out[:, padded["input_ids"].shape[1] :].tolist(), strict=True):
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else None
            found[i] = row[:end]
    return [found[i] for i in range(len(prompts))]


def pass_rates(model: Any, tokenizer: Any, problems: list[task.WordProblem], **how: Any) -> dict[str, Any]:
    """Pass rates by group, by group and form, and by group and family; median answer length."""
    groups: dict[str, list[bool]] = defaultdict(list)
    lengths: list[int] = []
    for p, ids in zip(problems, answers(model, tokenizer, problems, **how), strict=True):
        right = task.grade(tokenizer.decode(ids), p.answer)
        for key in (p.group, f"{p.group}/{p.form}", f"{p.group}/{p.family}"):
            groups[key].append(right)
        lengths.append(len(ids))
    rates = {k: round(sum(v) / len(v), 4) for k, v in sorted(groups.items())}
    return {
        "pass_rate": rates,
        "problems": len(problems),
        "median_answer_tokens": statistics.median(lengths),
    }
