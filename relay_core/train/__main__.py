"""python -m relay_core.train warmup|filter|grpo|measure|all --recipe bundled|FILE [--seed N] [--out DIR] [--json]

`all` is warm-up, filter, GRPO and measurement. A run that was killed goes on where it was when the same command is
given again. Any value of the recipe can be replaced by a flag: --grpo.rollouts 40, --warmup.trainer.learning_rate
1e-4, --relay.max_tokens 300.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError, RelayError

STAGES = ("warmup", "filter", "grpo", "measure", "all")


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The command line: its own flags, and the recipe's values that it replaces.

    Raises:
        ConfigurationError: a flag that cannot be read.
    """
    import yaml

    parser = argparse.ArgumentParser(prog="python -m relay_core.train", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--recipe", default="bundled", help="a recipe that ships, or a YAML file")
    parser.add_argument("--seed", type=int, help="replaces the recipe's")
    parser.add_argument("--student", help="engine spec of the student to begin with")
    parser.add_argument("--teacher", help="engine spec of the teacher")
    parser.add_argument("--out", type=Path, help="folder of the run (default: build/train/RECIPE-SEED)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args, rest = parser.parse_known_args(argv)
    overrides: dict[str, Any] = {
        name: getattr(args, name) for name in ("seed", "student", "teacher") if getattr(args, name) is not None
    }
    flags = [part for flag in rest for part in (flag.split("=", 1) if flag.startswith("--") else [flag])]
    if len(flags) % 2 or not all(f.startswith("--") for f in flags[::2]):
        raise ConfigurationError(f"cannot read {' '.join(rest)}: write --SECTION.NAME VALUE for each")
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        overrides[flag.removeprefix("--")] = _value(yaml.safe_load(value))
    return args, overrides


def _value(value: Any) -> Any:
    """YAML reads 1e-4 as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def main(argv: Sequence[str] | None = None) -> int:
    try:
        args, overrides = parse(sys.argv[1:] if argv is None else argv)
        from relay_core.train import models
        from relay_core.train.recipe import load

        models.require_extra()
        recipe = load(args.recipe, overrides)
        from relay_core.train.stages import Run

        run = Run(recipe, args.out or Path("build/train") / f"{Path(args.recipe).stem}-{recipe.seed}")
        result = _stage(run, args.stage)
    except RelayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result) if args.json else _words(result))
    return 0


def _stage(run: Any, stage: str) -> dict[str, Any]:
    if stage == "warmup":
        return {"student": str(run.warmup())}
    if stage == "filter":
        return {"kept": len(run.filter()), "of": run.recipe.filter.problems, "rates": str(run.out / "filter.jsonl")}
    if stage == "grpo":
        return {"student": str(run.grpo())}
    return dict(run.all() if stage == "all" else run.measure())


def _words(result: dict[str, Any]) -> str:
    if "methods" not in result:
        return "\n".join(f"{name}: {value}" for name, value in result.items())
    names = ("accuracy", "easy", "medium", "hard", "call ratio", "calls", "easy called")
    lines = [" " * 14 + "".join(f"{name:>{width}}" for name, width in zip(names, (9, 7, 8, 7, 12, 7, 13), strict=True))]
    for name, m in result["methods"].items():
        b = m["bands"]
        lines.append(
            f"{name:14}{m['accuracy']:9.3f}{b.get('easy', 0):7.3f}{b.get('medium', 0):8.3f}{b.get('hard', 0):7.3f}"
            f"{m['call_ratio']:12.4f}{m['calls']:7.2f}{m['called'].get('easy', 0):13.3f}"
        )
    if result.get("recovered") is not None:
        lines.append(f"of the gap from the base student to the teacher, the relay recovers {result['recovered']:.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
