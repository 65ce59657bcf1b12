"""python -m relay_core.train STAGE --recipe bundled|FILE [--seed N] [--out DIR] [--json]

STAGE is check, distill, warmup, filter, grpo, measure or all. `check` finds out whether a run will work; `all` runs
distillation (where the recipe has one), warm-up, filter, GRPO and measurement. If a run is killed, the same command
resumes it. A flag replaces a value of the recipe: --grpo.rollouts 40, --warmup.trainer.learning_rate 1e-4,
--relay.max_tokens 300. Some have a short name: --task, --warmup random|guided|told, --reward
difficulty_aware|simple|bill, --call-length learned|N|rest, --policy live|colocate|server, --no-independence-bonus,
--no-exploration, --no-filter, --no-teacher (plain GRPO).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError, RelayError

if TYPE_CHECKING:
    from relay_core.evaluate.ray_data import Cluster
    from relay_core.train.stages import Run

STAGES = ("check", "distill", "warmup", "filter", "grpo", "measure", "all")


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Read the command line; returns its flags, and the values that replace the recipe's, by dotted name.

    Raises:
        ConfigurationError: a flag cannot be read.
    """
    import yaml

    from relay_core.train.recipe import shipped

    parser = argparse.ArgumentParser(prog="python -m relay_core.train", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)  # fmt: skip
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--recipe", default="bundled", help=f"{', '.join(shipped())}, or a YAML file")
    parser.add_argument("--seed", type=int, help="replaces the recipe's seed")
    parser.add_argument("--student", help="engine spec of the student that training starts from")
    parser.add_argument("--teacher", help="engine spec of the teacher")
    parser.add_argument("--out", type=Path, help="folder of the run (default: build/train/RECIPE-SEED)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--resume", action="store_true", help="what the same command does anyway: go on in --out")
    parser.add_argument("--processes", type=int, help="check: the number of processes of the run")
    machines = parser.add_argument_group("warm-up and filter on many machines")
    machines.add_argument("--ray", action="store_true", help="sample in actors of Ray Data, here or in a cluster")
    machines.add_argument("--ray-address", help="HOST:PORT of the cluster, or local (default: a running Ray, if any)")
    machines.add_argument("--ray-actors", type=int, help="actors, each with its own model (default: one per GPU)")
    machines.add_argument("--ray-gpus", type=float, help="GPUs of each actor (default: 1, if there are any)")
    short = parser.add_argument_group("short names of values of the recipe")
    short.add_argument("--task", type=yaml.safe_load, help="a file, a hub id, a task or benchmark, or MODULE:CLASS")
    short.add_argument("--warmup", dest="warmup.source", help="random, guided, told or answers")
    short.add_argument("--reward", dest="grpo.reward", help="difficulty_aware, simple or bill")
    short.add_argument("--policy", dest="grpo.policy", help="live, colocate or server")
    short.add_argument("--call-length", dest="relay.trigger", type=_trigger, help="learned, a number, or rest")
    for name, dotted in _SWITCHES.items():
        short.add_argument(name, dest=dotted, action="store_const", const=False, help=f"--{dotted} false")
    args, rest = parser.parse_known_args(argv)
    ours = ("seed", "student", "teacher", *(action.dest for action in short._group_actions))
    overrides: dict[str, Any] = {name: value for name in ours if (value := getattr(args, name)) is not None}
    flags = [part for flag in rest for part in (flag.split("=", 1) if flag.startswith("--") else [flag])]
    if len(flags) % 2 or not all(f.startswith("--") for f in flags[::2]):
        raise ConfigurationError(f"cannot read {' '.join(rest)}: write --SECTION.NAME VALUE for each")
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        overrides[flag.removeprefix("--")] = _value(yaml.safe_load(value))
    return args, overrides


_SWITCHES = {
    "--no-independence-bonus": "grpo.independence_bonus",
    "--no-exploration": "grpo.exploration",
    "--no-filter": "filter.enabled",
    "--no-teacher": "grpo.calls",
}


def _of_another_size(recipe: str, student: str) -> str | None:
    """What to say of the bundled recipe with another student."""
    if recipe != "bundled" or student.partition(":")[0] == "bundled":
        return None
    return (
        f"note: the recipe bundled is made for a student of 0.17 M parameters; for {student}, write --recipe with "
        "qwen3-0.6b, qwen3-1.7b or a file of your own"
    )


def _cluster(args: argparse.Namespace) -> Cluster | None:
    """The machines that the flags name; ``None`` without them."""
    from relay_core.evaluate.ray_data import Cluster

    if not args.ray and args.ray_address is args.ray_actors is args.ray_gpus is None:
        return None
    return Cluster(address=args.ray_address, actors=args.ray_actors, gpus=args.ray_gpus)


def _trigger(call_length: str) -> str:
    """The trigger for ``--call-length``: commands with the n that the student wrote, or another one."""
    return "commands" if call_length == "learned" else f"commands:{call_length}"


def _value(value: Any) -> Any:
    """A flag's value; YAML reads 1e-4 as text, so text that is a number becomes one."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage; returns the exit code: 0, or 2 after an error, which is printed on one line (by check: one each)."""
    try:
        args, overrides = parse(sys.argv[1:] if argv is None else argv)
        from relay_core.train import models
        from relay_core.train.recipe import load

        models.require_extra()
        recipe = load(args.recipe, overrides)
        from relay_core.train import check
        from relay_core.train.checkpoints import disk_errors
        from relay_core.train.processes import is_main, start, world_size
        from relay_core.train.stages import Run

        if note := _of_another_size(args.recipe, recipe.student):
            print(note, file=sys.stderr)
        out = args.out or Path("build/train") / f"{Path(args.recipe).stem}-{recipe.seed}"
        models.quiet()
        start()
        if args.stage == "check":
            report = check.run(recipe, out, args.processes or world_size())
            values, text, code = report.as_dict(), report.text(), 2 if report.errors else 0
        else:
            check.quick(recipe, world_size(), out)
            with disk_errors(out):
                (values, text), code = _result(Run(recipe, out, _cluster(args)), args.stage), 0
    except RelayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if is_main():
        print(json.dumps(values) if args.json else text)
    return code


def _result(run: Run, stage: str) -> tuple[dict[str, Any], str]:
    """Run a stage; returns its result as plain values for ``--json``, and as text."""
    if stage in ("measure", "all"):
        comparison = run.all() if stage == "all" else run.measure()
        return ({}, "") if comparison is None else (run.report(comparison), comparison.text())
    if stage == "filter":
        values: dict[str, Any] = {
            "kept": len(run.filter()),
            "of": run.recipe.filter.problems,
            "rates": str(run.out / "filter" / "rates.jsonl") if run.recipe.filter.enabled else None,
        }
    else:
        values = {"student": str(getattr(run, stage)())}
        if stage == "warmup" and run.blocked:
            values["blocked"] = run.blocked
    return values, "\n".join(f"{name}: {value}" for name, value in values.items())


if __name__ == "__main__":
    sys.exit(main())
