"""A benchmark of a few problems, and scripted models that answer them, for tests of the evaluation.

The untrained student knows the easy problems; the trained one calls for the number in the others; the teacher knows all
but one. Without a tokenizer, every character is a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay_core import Prompt, RelaySettings, ScriptedEngine
from relay_core.engines.scripted import Doubt, Turn
from relay_core.evaluate.methods import Models
from relay_core.evaluate.task import Problem
from testing.tasks import FixedTask, problem

#: the problems: four easy ones, four for the teacher, and one that nobody solves
PROBLEMS = [
    *(problem(f"easy {i}", i, "easy") for i in range(4)),
    *(problem(f"hard {i}", i, "hard") for i in range(4)),
    problem("open 9", "nobody knows", "open"),
]


@dataclass(frozen=True)
class FixedBenchmark(FixedTask):
    """:data:`PROBLEMS` as a benchmark."""

    fixed: tuple[Problem, ...] = tuple(PROBLEMS)
    groups: tuple[str, ...] = ("easy", "hard", "open")
    title: str = "Fixed"
    samples: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    def size(self, split: str) -> int:
        return len(self.fixed)

    def answer_in(self, text: str) -> str | None:
        _, found, rest = text.rpartition("\\boxed{")
        return rest.partition("}")[0] if found else None


def _asked(prompt: Prompt) -> list[str]:
    words: list[str] = prompt.messages[-1]["content"].split()[:2]
    return words


def _teacher(prompt: Prompt) -> Turn:
    number = _asked(prompt)[1]
    if "is " in prompt.continuation:
        return f"\\boxed{{{number}}}. So it is."
    return f"It is \\boxed{{{number}}}. So it is."


def _base(prompt: Prompt) -> Turn:
    kind, number = _asked(prompt)
    if kind == "easy":
        return f"It is \\boxed{{{number}}}."
    if prompt.turn == 0:
        return ["It is ", Doubt("unknown", 0.2), " to me."]
    return " ok."


def _trained(prompt: Prompt) -> Turn:
    kind, number = _asked(prompt)
    if kind == "easy":
        return f"It is \\boxed{{{number}}}."
    return "It is <call>9</call>" if prompt.turn == 0 else "."


def models(tokenizer: str | None = None, delay_s: float = 0.0, **settings: Any) -> Models:
    """Scripted models; each records its requests, and waits ``delay_s`` before each token."""
    base, trained, teacher = (
        named(ScriptedEngine(script, tokenizer, record=True, honour_stop=True, logprob=-0.1, delay_s=delay_s), name)
        for script, name in ((_base, "base"), (_trained, "trained"), (_teacher, "teacher"))
    )
    return Models(student=trained, teacher=teacher, base=base, settings=RelaySettings(max_tokens=60, **settings))


def named(engine: ScriptedEngine, name: str) -> ScriptedEngine:
    """The engine, with a spec of its own."""
    engine.spec = f"scripted:{name}"
    return engine
