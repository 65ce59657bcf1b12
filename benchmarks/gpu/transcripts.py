"""Greedy float32 answers of the bundled pair on the device, compared with the CPU's, token by token.

    python -m benchmarks.gpu.transcripts --device cuda
    python -m benchmarks.gpu.transcripts --write       # after the pair has changed: the CPU writes transcripts.json

transcripts.json names the versions that wrote it. Its ``answers`` are JSON, deflated and in base64: by the problem's
id, the answer's segments, each as the first letter of its author and the token ids.
"""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.results import Deadline, Results, step_parser
from relay_core import Relay, RelaySettings, engine_from_spec
from relay_core.concurrency import map_concurrently
from relay_core.evaluate.task import Problem, task_from_spec

FILE = Path(__file__).with_name("transcripts.json")
PROBLEMS, TINY_PROBLEMS = 50, 10
SHOWN_DIFFERENCES = 10

#: the first letter of the author, and the ids
Segments = list[tuple[str, list[int]]]


async def write_answers(device: str, problems: Sequence[Problem]) -> dict[str, Segments]:
    """The relay's answers to all problems at once, by the problem's id."""
    answers: dict[str, Segments] = {}
    student, teacher = (
        engine_from_spec("bundled", role=role, device=device, dtype="float32") for role in ("student", "teacher")
    )
    async with Relay(student, teacher, RelaySettings()) as relay:

        async def answer(problem: Problem) -> None:
            result = await relay.agenerate([dict(message) for message in problem.messages])
            answers[problem.id] = [(str(s.author)[0], [int(i) for i in s.token_ids or ()]) for s in result.segments]

        await map_concurrently(answer, problems, limit=len(problems))
    return answers


def first_difference(expected: Segments, actual: Segments) -> dict[str, Any] | None:
    """The first token that differs, as its index and as (author, id) of both answers; ``None`` if all are equal."""
    of_cpu, of_device = ([(a, i) for a, ids in segments for i in ids] for segments in (expected, actual))
    for index in range(max(len(of_cpu), len(of_device))):
        cpu = of_cpu[index] if index < len(of_cpu) else None
        device = of_device[index] if index < len(of_device) else None
        if cpu != device:
            return {"index": index, "cpu": cpu, "device": device}
    return None


def compare(expected: dict[str, Segments], actual: dict[str, Segments]) -> dict[str, Any]:
    """How many answers are equal id for id, and where the first of the others differ."""
    differences = {name: first_difference(expected[name], segments) for name, segments in actual.items()}
    different = {name: difference for name, difference in differences.items() if difference is not None}
    return {
        "answers": len(actual),
        "equal_share": 1 - len(different) / len(actual),
        "first_differences": dict(list(different.items())[:SHOWN_DIFFERENCES]),
    }


def read() -> dict[str, Segments]:
    """The CPU's answers."""
    packed = base64.b64decode(json.loads(FILE.read_text())["answers"])
    answers = json.loads(zlib.decompress(packed))
    return {name: [(author, ids) for author, ids in segments] for name, segments in answers.items()}


def write() -> None:
    """Write the CPU's answers."""
    import torch
    import transformers

    answers = asyncio.run(write_answers("cpu", task_from_spec("bundled").problems("test", PROBLEMS, seed=0)))
    packed = zlib.compress(json.dumps(answers, separators=(",", ":"), sort_keys=True).encode(), 9)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    FILE.write_text(json.dumps({**versions, "answers": base64.b64encode(packed).decode()}, indent=1) + "\n")
    print(f"{FILE}: {len(answers)} answers, {FILE.stat().st_size / 1000:.1f} kB")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the step, or write the file; returns the exit status."""
    parser = step_parser(__doc__)
    parser.add_argument("--write", action="store_true", help="write the CPU's answers into transcripts.json")
    options = parser.parse_args(arguments)
    if options.write:
        write()
        return 0
    Deadline(options.limit)
    problems = task_from_spec("bundled").problems("test", PROBLEMS, seed=0)[: TINY_PROBLEMS if options.tiny else None]
    Results(options.out).add("float32", compare(read(), asyncio.run(write_answers(options.device, problems))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
