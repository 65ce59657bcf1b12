"""The pairs that ``serving.py`` measures: two models in folders, and the questions to ask them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import random_pair
from benchmarks.scheduled_calls import Schedule, random_schedule
from relay_core import bundled
from relay_core.engines.base import Message
from relay_core.evaluate.task import Task

CHAT_TEMPLATE_ROOM = 64  # tokens of the context that are left free for the chat template


@dataclass(frozen=True)
class Question:
    """A prompt, and how many tokens its answer may have."""

    messages: Sequence[Message]
    max_tokens: int


@dataclass(frozen=True)
class Pair:
    """Two models and their questions.

    Args:
        student, teacher: the folders of the models.
        schedule: where the student calls; ``None`` for a student that writes commands by itself.
        draw_questions: takes the number of questions and a seed.
    """

    student: Path
    teacher: Path
    schedule: Schedule | None
    draw_questions: Callable[[int, int], list[Question]]


def bundled_pair(task: Task, max_tokens: int) -> Pair:
    """The bundled pair on the test split of a task."""

    def draw_questions(n: int, seed: int) -> list[Question]:
        return [Question(problem.messages, max_tokens) for problem in task.problems("test", n, seed=seed)]

    return Pair(bundled.path("student-relay"), bundled.path("teacher"), None, draw_questions)


def build_random_pair(
    folder: Path, *, prompt_tokens: int, answer_tokens: int, answer_spread: float, every: int, call_tokens: int
) -> Pair:
    """Build the pair with random weights in ``folder``; its prompts and answers are of mixed lengths.

    Args:
        folder: where the models are written.
        prompt_tokens: the mean length of a prompt; lengths are between 0.5 and 1.5 times as many tokens.
        answer_tokens: the median of the answers' lengths.
        answer_spread: the standard deviation of the logarithm of the answers' lengths.
        every: student tokens before a call, on average.
        call_tokens: teacher tokens of a call, on average.
    """
    tokenizer = random_pair.build_pair(folder)
    vocabulary = random_pair.word_ids(tokenizer)

    def draw_questions(n: int, seed: int) -> list[Question]:
        rng = random.Random(seed)
        questions = []
        for _ in range(n):
            length = rng.randint(prompt_tokens // 2, prompt_tokens * 3 // 2)
            text = tokenizer.decode(rng.choices(vocabulary, k=length)).strip()
            drawn_length = round(answer_tokens * math.exp(rng.gauss(0, answer_spread)))
            room = random_pair.CONTEXT_LENGTH - length - CHAT_TEMPLATE_ROOM
            questions.append(Question([{"role": "user", "content": text}], min(max(drawn_length, 8), room)))
        return questions

    return Pair(folder / "student", folder / "teacher", random_schedule(every, call_tokens), draw_questions)
