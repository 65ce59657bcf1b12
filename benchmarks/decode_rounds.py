"""The rounds of ``decode.py``: the student alone, the relay and the teacher alone take turns, each on new prompts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from benchmarks.decode_figures import Figures, Work
from relay_core import Author, CallEnded, CallStarted, Finished, Relay, TextDelta
from relay_core.chat import Conversation, render
from relay_core.concurrency import map_concurrently
from relay_core.engines.base import Engine, Message, Prompt, Sampling
from relay_core.evaluate.task import Task

Messages = Sequence[Message]
#: writes one answer; returns the number of its tokens
Write = Callable[[Messages], Awaitable[int]]

_DRAWN_TOGETHER = 300


class FreshPrompts:
    """Prompts of a task's test split. Each drawn problem is handed out once, so that no prompt is in a prefix cache.

    A task with few problems runs out of new ones: the next seed then draws problems that were handed out before.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._seed = task, seed
        self._ready: list[Messages] = []

    def take(self, n: int) -> list[Messages]:
        """The next ``n`` prompts."""
        while len(self._ready) < n:
            problems = self._task.problems("test", _DRAWN_TOGETHER, seed=self._seed)
            self._ready += [problem.messages for problem in problems]
            self._seed += 1
        taken, self._ready = self._ready[:n], self._ready[n:]
        return taken


async def measure_rounds(
    relay: Relay, student: Engine, teacher: Engine, prompts: FreshPrompts, *, at_once: int, answers: int, rounds: int
) -> Figures:
    """Measure ``rounds`` rounds, after one that warms everything up and is not counted.

    Args:
        relay: must be started.
        student: the engine to measure alone; without the calls that the relay's student may dictate.
        teacher: the engine to measure alone.
        prompts: where the prompts come from.
        at_once: concurrent requests.
        answers: answers of a round, of the student and of the relay; the teacher writes half as many.
        rounds: how many rounds count.
    """
    total, length = Figures(at_once), relay.settings.max_tokens
    for number in range(rounds + 1):
        figures = Figures(at_once)
        await run_timed(figures.student, alone(student, length), prompts.take(answers), at_once)
        await run_timed(figures.relay, relayed(relay, figures), prompts.take(answers), at_once)
        await run_timed(figures.teacher, alone(teacher, length), prompts.take(max(1, answers // 2)), at_once)
        if number > 0:
            total.add_round(figures)
    return total


async def run_timed(work: Work, write: Write, prompts: Sequence[Messages], at_once: int) -> None:
    """Answer all prompts, ``at_once`` at a time, and add the tokens and seconds to ``work``."""
    began = time.perf_counter()
    work.tokens += sum(await map_concurrently(write, prompts, limit=at_once))
    work.seconds += time.perf_counter() - began


def alone(engine: Engine, max_tokens: int) -> Write:
    """One model writes an answer by itself, straight from its engine."""

    async def write(prompt: Messages) -> int:
        assert engine.tokenizer is not None
        rendered = render(engine.tokenizer, Conversation.of(prompt))
        tokens = 0
        async with aclosing(engine.stream(Prompt(rendered.text, rendered.token_ids), Sampling(max_tokens))) as chunks:
            async for chunk in chunks:
                tokens += len(chunk.tokens) + (chunk.end_token is not None)
        return tokens

    return write


def relayed(relay: Relay, figures: Figures) -> Write:
    """The relay writes an answer; ``figures`` receives the tokens of each model, the calls and the hand-overs."""

    async def write(prompt: Messages) -> int:
        called_at: float | None = None
        received = 0
        async with aclosing(relay.astream(prompt)) as events:
            async for event in events:
                if isinstance(event, CallStarted):
                    called_at = time.perf_counter()
                elif isinstance(event, CallEnded):
                    received = event.received
                elif isinstance(event, TextDelta) and event.author is Author.STUDENT and called_at is not None:
                    figures.handovers.add(Work(received, time.perf_counter() - called_at))
                    figures.handover_count += 1
                    called_at = None
                elif isinstance(event, Finished):
                    usage = event.result.usage
        figures.student_tokens += usage.student_tokens + usage.command_tokens
        figures.teacher_tokens += usage.teacher_tokens
        figures.calls += usage.calls
        return usage.completion_tokens

    return write
