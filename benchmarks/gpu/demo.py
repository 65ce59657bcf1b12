"""The bundled pair on the device: `relay demo`'s three methods, in float32 and in bfloat16.

    python -m benchmarks.gpu.demo --device cuda

The same seed draws the same problems in both. Loading is in no method's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.gpu.results import Deadline, Results, step_parser
from relay_core import RelaySettings, engine_from_spec
from relay_core.evaluate.comparison import Comparison, compare, three_methods
from relay_core.evaluate.task import task_from_spec

PROBLEMS, TINY_PROBLEMS = 100, 6
MODELS = {"base": "bundled:student-base", "student": "bundled:student-relay", "teacher": "bundled:teacher"}


async def measure(device: str, dtype: str, problems: int) -> Comparison:
    """Student alone, relay and teacher alone on the bundled task."""
    task = task_from_spec("bundled")
    async with AsyncExitStack() as stack:
        engines = {name: engine_from_spec(spec, device=device, dtype=dtype) for name, spec in MODELS.items()}
        for engine in engines.values():
            stack.push_async_callback(engine.aclose)
        methods = three_methods(**engines, settings=RelaySettings())
        for method in methods.values():
            await method.relay.start()  # so that no method's time includes loading
        drawn = task.problems("test", problems, seed=0)
        return await compare(task, drawn, methods, on_answer=lambda name: lambda answer: None)


def figures(comparison: Comparison) -> dict[str, Any]:
    """The figures that belong into a report."""
    kept = ("accuracy", "bands", "call_ratio", "calls", "tokens_per_s", "seconds")
    methods = {name: method.as_dict() for name, method in comparison.methods.items()}
    return {name: {key: method[key] for key in kept} for name, method in methods.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the step; returns the exit status."""
    options = step_parser(__doc__).parse_args(arguments)
    Deadline(options.limit)
    results = Results(options.out)
    for dtype in ("float32", "bfloat16"):
        comparison = asyncio.run(measure(options.device, dtype, TINY_PROBLEMS if options.tiny else PROBLEMS))
        print(f"{dtype} on {options.device}\n{comparison.text()}", flush=True)
        results.add(dtype, figures(comparison))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
