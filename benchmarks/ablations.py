"""The table of the paper's training switches in docs/training.md, from finished runs of the bundled recipe.

python -m relay_core.train all --grpo.rollouts 32 --out RUNS/as-it-is
python -m relay_core.train all --grpo.rollouts 32 --reward simple --out RUNS/simple        # and so on: SWITCHES
python benchmarks/ablations.py RUNS [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.command_line import add_output_options, run_benchmark

#: the folder of a run -> its flags, and what the paper says of the switch
SWITCHES = {
    "as-it-is": ("", "49.52 at 1.07%"),
    "simple": ("--reward simple", "49.30 at 0.43%"),
    "no-independence-bonus": ("--no-independence-bonus", "call ratio 4.10%"),
    "no-exploration": ("--no-exploration", "47.56"),
    "no-filter": ("--no-filter", "48.76, call ratio three times as high"),
    "call-length-20": ("--call-length 20", "fixed at inference: 39.71 instead of 43.75 on Minerva"),
    "call-length-rest": ("--call-length rest", "-"),
    "no-teacher": ("--no-teacher", "44.06"),
}


def row(folder: Path) -> dict[str, Any]:
    """The figures of one run: what its last measurement says of its student."""
    methods = json.loads((folder / "measured.json").read_text())["methods"]
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    relay = methods.get("relay") or methods["student-grpo"]
    return {
        "rollouts": recipe["grpo"]["rollouts"],
        "accuracy": relay["accuracy"],
        **relay["bands"],
        "call_ratio": relay["call_ratio"],
        "calls": relay["calls"],
        "requested": relay["requested"],
        "called": relay["called"],
        "alone": (methods.get("student-relay") or methods["student-grpo"])["accuracy"],
    }


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The rows of the runs that are there, in the order of :data:`SWITCHES`."""
    return {name: row(options.runs / name) for name in SWITCHES if (options.runs / name / "measured.json").exists()}


def show(rows: Mapping[str, Any]) -> None:
    print("| switch | rollouts | accuracy | medium | call ratio | n | calls on easy, hard | calls refused | paper |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for name, r in rows.items():
        flags, paper = SWITCHES[name]
        n = "-" if r["requested"] is None else f"{r['requested']:.1f}"
        called = f"{r['called']['easy']:.0%}, {r['called']['hard']:.0%}"
        print(
            f"| {f'`{flags}`' if flags else 'none'} | {r['rollouts']} | {r['accuracy']:.3f} | {r['medium']:.3f} | "
            f"{r['call_ratio']:.1%} | {n} | {called} | {r['alone']:.3f} | {paper} |"
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of the runs")
    add_output_options(parser)
    options = parser.parse_args(argv)
    return run_benchmark(options, lambda: measured(options), show)


if __name__ == "__main__":
    raise SystemExit(main())
