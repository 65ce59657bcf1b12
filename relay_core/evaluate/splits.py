"""Divides problems into splits so that no prompt is in two splits, and draws problems from a split."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.evaluate.task import Problem

Splits = dict[str, list[Problem]]


def by_share(problems: Sequence[Problem], shares: Mapping[str, float], seed: int) -> Splits:
    """Divide problems into splits at random; problems with the same prompt go to the same split.

    Args:
        shares: the share of each split; their sum is at most 1.
        seed: determines which problem goes to which split.
    """
    prompts = sorted({_prompt(problem) for problem in problems})
    random.Random(f"relay-dataset/split/{seed}").shuffle(prompts)
    split_of: dict[str, str] = {}
    start, total = 0, 0.0
    for split, share in shares.items():
        total += share
        end = round(total * len(prompts))
        split_of.update(dict.fromkeys(prompts[start:end], split))
        start = end
    divided: Splits = {split: [] for split in shares}
    for problem in problems:
        if (split_name := split_of.get(_prompt(problem))) is not None:
            divided[split_name].append(problem)
    return divided


def balanced_halves(
    problems: Sequence[Problem], weight: Callable[[Problem], float], seed: int
) -> tuple[list[Problem], list[Problem]]:
    """Divide problems into two halves that are alike in weight; of problems with the same prompt, the first is kept.

    The problems are sorted by weight, and of each two neighbours one goes to either half, at random (a stratified
    split in strata of two).

    Args:
        weight: what the halves are to be alike in.
        seed: decides which of two neighbours goes where.
    """
    distinct = list({_prompt(problem): problem for problem in reversed(problems)}.values())
    rng = random.Random(f"relay-dataset/halves/{seed}")
    rng.shuffle(distinct)
    distinct.sort(key=weight)
    halves: tuple[list[Problem], list[Problem]] = ([], [])
    for i in range(0, len(distinct), 2):
        pair = distinct[i : i + 2]
        rng.shuffle(pair)
        for half, problem in zip(halves, pair, strict=False):
            half.append(problem)
    return halves


def without_shared(splits: Mapping[str, Sequence[Problem]]) -> Splits:
    """If a prompt is in several splits, keep it only in the last of them, in the order of ``splits``."""
    last_split = {_prompt(problem): name for name, problems in splits.items() for problem in problems}
    return {
        name: [problem for problem in problems if last_split[_prompt(problem)] == name]
        for name, problems in splits.items()
    }


def draw(
    problems: Sequence[Problem], n: int | None, *, seed: int, mix: Mapping[str, float] | None, source: str
) -> list[Problem]:
    """Draw ``n`` of ``problems`` in random order.

    Without ``mix``, a draw with a smaller ``n`` and the same seed returns the first problems of this draw.

    Args:
        n: the number of problems to draw; ``None`` for all.
        seed: determines which problems are drawn, and their order.
        mix: the share of each group; ``None`` draws without regard to groups.
        source: names the problems in errors.

    Raises:
        ConfigurationError: there are fewer than ``n`` problems, a group has fewer than its share of ``n``, or ``mix``
            names a group that no problem has.
    """
    rng = random.Random(f"relay-dataset/draw/{seed}")
    shuffled = rng.sample(list(problems), len(problems))
    if mix is None:
        return _first(shuffled, len(shuffled) if n is None else n, source)
    by_group: dict[str, list[Problem]] = defaultdict(list)
    for problem in shuffled:
        by_group[problem.group].append(problem)
    for group in mix:
        if group not in by_group:
            raise ConfigurationError(f"{source} has no group {group!r}; {did_you_mean(group, by_group)}")
    if n is None:
        raise ConfigurationError(f"{source}: a mix of groups needs the number of problems")
    chosen = [
        problem
        for group, count in _counts(n, mix).items()
        for problem in _first(by_group[group], count, f"the group {group!r} of {source}")
    ]
    rng.shuffle(chosen)
    return chosen


def _counts(n: int, mix: Mapping[str, float]) -> dict[str, int]:
    """Divide ``n`` by the shares, whose sum need not be 1; the largest remainders are rounded up."""
    total = sum(mix.values())
    if total <= 0 or min(mix.values()) < 0:
        raise ConfigurationError(f"mix is {dict(mix)}: write shares of 0 or more, at least one above 0")
    exact = {group: n * share / total for group, share in mix.items()}
    counts = {group: int(value) for group, value in exact.items()}
    by_remainder = sorted(mix, key=lambda group: counts[group] - exact[group])
    for group in by_remainder[: n - sum(counts.values())]:
        counts[group] += 1
    return counts


def _first(problems: list[Problem], n: int, source: str) -> list[Problem]:
    if n > len(problems):
        raise ConfigurationError(f"{source} has {len(problems)} problems, {n} are needed")
    return problems[:n]


def _prompt(problem: Problem) -> str:
    return json.dumps([dict(message) for message in problem.messages], sort_keys=True)
