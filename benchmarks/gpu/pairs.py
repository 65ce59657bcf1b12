"""The speed of Qwen3-shaped pairs on the device, by prompt length and number of concurrent requests.

    python -m benchmarks.gpu.pairs --student 0.6B --teacher 8B
    python -m benchmarks.gpu.pairs --student 0.6B --teacher 8B --batching async
    python -m benchmarks.gpu.pairs --student 1.7B --teacher 8B --cells 500x64 8000x16

The models have random weights (``shapes.py``). The student calls every 100 tokens on average. The figures are those of
``decode.py``: tokens/s of student, teacher and relay, the ratio to the ideal and the cost of a hand-over in student
steps. Beside them: the seconds until the reader sees the relay's first token, and the peak memory.

Each cell is one prompt length with one number of concurrent requests. Cells are measured once, in the given order,
until the step's time is up; a cell whose caches do not fit beside the models is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from benchmarks.decode_figures import Figures
from benchmarks.decode_rounds import FreshPrompts, alone, relayed, run_timed
from benchmarks.gpu.results import Deadline, Results, step_parser
from benchmarks.gpu.shapes import RandomWords, build, cache_bytes_per_token
from benchmarks.random_pair import qwen3_tokenizer
from benchmarks.scheduled_calls import ScheduledCalls, random_schedule
from relay_core import Event, Relay, RelaySettings, TextDelta, TransformersEngine
from relay_core.engines.base import Engine

BATCHING: dict[str, dict[str, bool]] = {
    "plain": {},
    "async": {"async_batching": True},
    "graphs": {"cuda_graphs": True},
    "both": {"cuda_graphs": True, "async_batching": True},
}
CALL_TOKENS = 8
ROOM = 64  # tokens of a request for the chat template, its commands and the end of its last page
CACHE_SHARE = 0.85  # of the free memory; activations and logits need the rest


class Cell(NamedTuple):
    """What is measured together."""

    prompt_tokens: int
    at_once: int

    @classmethod
    def parse(cls, text: str) -> Cell:
        """The cell of ``PROMPTxREQUESTS``."""
        prompt_tokens, _, at_once = text.partition("x")
        return cls(int(prompt_tokens), int(at_once))

    def __str__(self) -> str:
        return f"{self.prompt_tokens}x{self.at_once}"


class Work(NamedTuple):
    """How long answers are, how often the student calls, and the cells in the order of their worth."""

    answer_tokens: int
    every: int
    cells: tuple[Cell, ...]


FULL = Work(256, 100, tuple(map(Cell.parse, "500x1 500x64 8000x1 500x16 8000x16 500x256 8000x64 8000x256".split())))
TINY = Work(40, 12, (Cell(50, 1), Cell(50, 4)))


class TimedRelay(Relay):
    """A relay that notes how long each answer's first text took to reach the reader."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.first_text_s: list[float] = []

    async def astream(self, prompt: Any, **overrides: Any) -> AsyncGenerator[Event, None]:
        """The relay's events; see :meth:`relay_core.Relay.astream`."""
        began, is_first = time.perf_counter(), True
        async with aclosing(super().astream(prompt, **overrides)) as events:
            async for event in events:
                if is_first and isinstance(event, TextDelta):
                    self.first_text_s.append(time.perf_counter() - began)
                    is_first = False
                yield event


def free_bytes(device: str) -> int:
    """The device's free memory."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def cache_tokens(cell: Cell, answer_tokens: int) -> int:
    """Tokens of the cache of each model that a cell needs."""
    return cell.at_once * (cell.prompt_tokens + answer_tokens + ROOM)


async def measure_cell(
    relay: TimedRelay, student: Engine, teacher: Engine, prompts: FreshPrompts, cell: Cell
) -> dict[str, Any]:
    """One answer for every concurrent request: of the student alone, of the relay, of the teacher alone."""
    figures, at_once, length = Figures(cell.at_once), cell.at_once, relay.settings.max_tokens
    on_cuda = torch.cuda.is_initialized()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    relay.first_text_s.clear()
    began = time.perf_counter()
    await run_timed(figures.student, alone(student, length), prompts.take(at_once), at_once)
    await run_timed(figures.relay, relayed(relay, figures), prompts.take(at_once), at_once)
    await run_timed(figures.teacher, alone(teacher, length), prompts.take(at_once), at_once)
    figures.ratios.append(round(figures.ratio_to_ideal, 3))
    return {
        **figures.as_dict(),
        "first_token_s": round(statistics.median(relay.first_text_s), 4),
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_cuda else None,
        "seconds": round(time.perf_counter() - began, 1),
    }


async def measure(options: argparse.Namespace, results: Results, deadline: Deadline) -> None:
    """Build the pair, then measure cell after cell."""
    work = TINY if options.tiny else FULL
    cells = tuple(map(Cell.parse, options.cells)) if options.cells else work.cells
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = qwen3_tokenizer(Path(folder))
    student_model, teacher_model = (
        build(size, tokenizer, options.device, tiny=options.tiny, seed=seed)
        for seed, size in enumerate((options.student, options.teacher))
    )
    token_bytes = cache_bytes_per_token(student_model) + cache_bytes_per_token(teacher_model)
    room = int(CACHE_SHARE * free_bytes(options.device)) // token_bytes
    feasible = [cell for cell in cells if cache_tokens(cell, work.answer_tokens) <= room]
    for cell in cells:
        if cell not in feasible:
            needed_gib, room_gib = (n * token_bytes / 2**30 for n in (cache_tokens(cell, work.answer_tokens), room))
            reason = f"the caches need {needed_gib:.0f} GiB, there is room for {room_gib:.0f} GiB"
            results.add(str(cell), {"left_out": reason})
    if not feasible:
        return
    engine_options = {
        "cache_tokens": max(cache_tokens(cell, work.answer_tokens) for cell in feasible),
        **({"max_batch_tokens": options.max_batch_tokens} if options.max_batch_tokens else {}),
        **BATCHING[options.batching],
    }
    student, teacher = (TransformersEngine(m, tokenizer, **engine_options) for m in (student_model, teacher_model))
    settings = RelaySettings(max_tokens=work.answer_tokens, on_teacher_stop="continue")
    caller = ScheduledCalls(student, random_schedule(work.every, CALL_TOKENS))
    relay = TimedRelay(caller, teacher, settings)
    async with relay:
        prompts = {length: FreshPrompts(RandomWords(tokenizer, length), seed=1) for length, _ in feasible}
        warm_up = FreshPrompts(RandomWords(tokenizer, 20), seed=0)
        for engine in (student, teacher):
            await alone(engine, 8)(warm_up.take(1)[0])
        for cell in feasible:
            if deadline.seconds_left < options.cell_s:
                results.add(str(cell), {"left_out": f"{deadline.seconds_left:.0f} s were left"})
                continue
            results.add(str(cell), await measure_cell(relay, student, teacher, prompts[cell.prompt_tokens], cell))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the step; returns the exit status."""
    parser = step_parser(__doc__)
    parser.add_argument("--student", choices=("0.6B", "1.7B", "8B"), default="0.6B")
    parser.add_argument("--teacher", choices=("0.6B", "1.7B", "8B"), default="8B")
    parser.add_argument("--batching", choices=tuple(BATCHING), default="plain", help="options of both engines")
    parser.add_argument("--max-batch-tokens", type=int, help="of both engines; their default otherwise")
    parser.add_argument(
        "--cells", nargs="+", metavar="PROMPTxREQUESTS", help="such as 500x64; the step's own otherwise"
    )
    parser.add_argument("--cell-s", type=float, default=10.0, help="begin no cell with fewer seconds left")
    options = parser.parse_args(arguments)
    asyncio.run(measure(options, Results(options.out), Deadline(options.limit)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
