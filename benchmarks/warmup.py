"""What each source of warm-up gives: a student per source, measured with its teacher and with calls blocked.

    python benchmarks/warmup.py --out DIR                               # the bundled pair: about 10 minutes
    python benchmarks/warmup.py --recipe FILE --sources random guided --problems 300 --out DIR --json

The sources are `random`, `guided`, and `pruned` (guided, with `warmup.prune`). A further run of this command resumes
in DIR. Values of the recipe can be replaced as in training, such as `--warmup.problems 240`; they apply to the guided
sources only, since random placement needs many more answers than these.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import add_output_options, run_benchmark
from relay_core import Relay, engine_from_spec, portal
from relay_core.engines.in_turn import in_turn
from relay_core.evaluate.measure import Measured, measure
from relay_core.evaluate.task import Problem
from relay_core.train.__main__ import parse
from relay_core.train.recipe import load
from relay_core.train.stages import Run

SOURCES: Mapping[str, Mapping[str, Any]] = {
    "random": {"warmup.source": "random"},
    "guided": {"warmup.source": "guided"},
    "pruned": {"warmup.source": "guided", "warmup.prune": True},
}


def one(source: str, options: argparse.Namespace, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Warm a student up, and measure it greedily on problems of the split `test`."""
    values = {**({} if source == "random" else overrides), **SOURCES[source]}
    run = Run(load(options.recipe, values), options.out / source)
    folder = run.warmup()
    problems = list(run.task.problems("test", options.problems))
    measured = relay(run, str(folder), problems)
    rows = json.loads((run.out / "warmup" / "rows.json").read_text())
    figures = {name: getattr(measured, name) for name in ("accuracy", "bands", "call_ratio", "called", "requested")}
    return {**figures, "rows": rows, "blocked": run.blocked}


def relay(run: Run, student: str, problems: Sequence[Problem]) -> Measured:
    """The relay's figures, with calls."""
    specs = [run.recipe.teacher] if isinstance(run.recipe.teacher, str) else run.recipe.teacher
    engines = engine_from_spec(student), in_turn([engine_from_spec(spec, role="teacher") for spec in specs])
    try:
        pair = Relay(*engines, run.recipe.settings(temperature=0.0))
        return portal.run(lambda: measure(pair, run.task, problems))
    finally:
        for engine in engines:
            portal.run(engine.aclose)


def show(result: dict[str, Any]) -> None:
    """Print one line per source."""
    for source, figures in result.items():
        blocked, n = figures["blocked"], figures["requested"]
        print(
            f"{source:8} accuracy {figures['accuracy']:.3f}  call ratio {figures['call_ratio']:.2%}  "
            f"n {'-' if n is None else f'{n:.1f}'}  called {figures['called']}  rows {figures['rows']['rows']}  "
            f"calls blocked {blocked['before']['accuracy']:.3f} -> {blocked['after']['accuracy']:.3f}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="bundled")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--problems", type=int, default=300, help="measured problems of the split test")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    add_output_options(parser)
    options, rest = parser.parse_known_args(argv)
    _, overrides = parse(["warmup", *rest])
    return run_benchmark(options, lambda: {source: one(source, options, overrides) for source in options.sources}, show)


if __name__ == "__main__":
    raise SystemExit(main())
