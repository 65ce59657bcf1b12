"""python -m relay_core.evaluate.citer train --student SPEC --teacher SPEC --task TASK --problems N --out FOLDER

Trains the head of CITER, for the method citer:FOLDER,BOUND and the trigger hidden:FOLDER,BOUND. If a run is killed, the
same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError, RelayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_core.evaluate.tune import Stage


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m relay_core.evaluate.citer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)  # fmt: skip
    parser.add_argument("command", choices=["train"])
    parser.add_argument("--student", default="bundled:student-base", help="engine spec of a student in this process")
    parser.add_argument("--teacher", default="bundled:teacher", help="engine spec of the teacher")
    parser.add_argument("--task", default="bundled", help="bundled, a file or hub id with questions and answers, or "
                                                          "MODULE:CLASS")  # fmt: skip
    parser.add_argument("--split", default="train", help="the split whose problems are taken (default: train)")
    parser.add_argument("--problems", type=_positive, default=1000, help="how many, or all if there are fewer")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the head")
    parser.add_argument("--seed", type=int, default=0, help="draws problems and places, and starts the fits")
    parser.add_argument("--rounds", type=_positive, default=2, help="rounds of rollouts and fits (default: 2)")
    parser.add_argument("--rollouts", type=_positive, default=8, help="most places of a reference to roll out")
    parser.add_argument("--max-tokens", type=_positive, default=512, help="most tokens of an answer")
    parser.add_argument("--concurrency", type=_positive, default=32, help="answers at a time")
    parser.add_argument("--json", action="store_true", help="print the head's description as JSON, without progress")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("write 1 or more")
    return value


def _stages(*, shown: bool) -> Stage:
    """Progress on stderr."""
    from relay_core.evaluate.progress import Progress

    @contextmanager
    def stage(label: str, total: int) -> Iterator[Callable[[], object]]:
        with Progress(label, total, shown=shown) as progress:
            yield progress.step

    return stage


async def _trained(args: argparse.Namespace) -> Mapping[str, Any]:
    from relay_core.engines.spec import engine_from_spec
    from relay_core.evaluate.task import task_from_spec, up_to
    from relay_core.settings import RelaySettings

    task = task_from_spec(args.task)
    problems = up_to(task, args.split, args.problems, seed=args.seed)
    student = engine_from_spec(args.student, role="student")
    teacher = engine_from_spec(args.teacher, role="teacher")
    try:
        from relay_core.evaluate.citer.train import Trainer

        return await Trainer(
            student=student, teacher=teacher, task=task, settings=RelaySettings(max_tokens=args.max_tokens),
            folder=args.out, stage=_stages(shown=not args.json), rounds=args.rounds, rollouts=args.rollouts,
            seed=args.seed, concurrency=args.concurrency,
        ).train(problems)  # fmt: skip
    except OSError as error:
        raise ConfigurationError(f"--out {args.out} cannot be written: {error.strerror or error}") from error
    finally:
        await student.aclose()
        await teacher.aclose()


def text_of(card: Mapping[str, Any], folder: Path) -> str:
    """What a head is worth, in four lines."""
    aucs = card["aucs"]
    return (
        f"{card['problems']} references ({card['left_out']} problems left out), {card['tokens']} tokens; the teacher "
        f"is preferred at {card['teacher_preferred']}; {card['rollouts']} places rolled out, round {card['round']}\n"
        f"AUC on held-out problems: {aucs['head']:.4f} (the student's bare probability: {aucs['bare']:.4f})\n"
        f"chosen on validation problems: {card['units']} units, weight decay {card['weight_decay']:g}, "
        f"{card['epochs']} epochs\n"
        f"use it: --methods citer:{folder},0.5"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 2 after an error, which is printed on one line."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        card = asyncio.run(_trained(args))
    except RelayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"folder": str(args.out), **card}, indent=1) if args.json else text_of(card, args.out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
