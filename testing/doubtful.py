"""Scripted engines that write the same answer, where the student is unsure of some words: for `relay tune` and `audit`.

Without ids, so each character is a token. The student's word is wrong ("no") where it is unsure, the teacher's is "ok".
"""

from __future__ import annotations

import math
import random

from relay_core.engines.base import Prompt
from relay_core.engines.scripted import Doubt, ScriptedEngine, Step

WORDS = 40


def probabilities(question: str) -> list[float]:
    """The probability of the student's likeliest token in each word of its answer."""
    rng = random.Random(question)
    return [rng.random() for _ in range(WORDS)]


def _rest(prompt: Prompt) -> list[float]:
    """The probabilities of the words that are not begun yet; each word takes three characters."""
    return probabilities(str(prompt.messages[-1]["content"]))[math.ceil(len(prompt.continuation) / 3) :]


def doubtful_student(*, surer_after_call: float = 1.0) -> ScriptedEngine:
    """The student.

    Args:
        surer_after_call: the power to which it raises its probabilities after a call; below 1, it is then surer.
    """

    def script(prompt: Prompt) -> list[Step]:
        power = surer_after_call if prompt.turn else 1.0
        pad = " " * (-len(prompt.continuation) % 3)
        words: list[Step] = [Doubt("ok " if p > 0.5 else "no ", p**power) for p in _rest(prompt)]
        return [pad, *words]

    return ScriptedEngine(script, None, logprob=-1e-3)


def sure_teacher(**options: float) -> ScriptedEngine:
    """The teacher; ``options`` are those of :class:`ScriptedEngine`."""

    def script(prompt: Prompt) -> str:
        return " " * (-len(prompt.continuation) % 3) + "ok " * len(_rest(prompt))

    return ScriptedEngine(script, None, **options)  # type: ignore[arg-type]
