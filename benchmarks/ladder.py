"""The ladder of the recipe smollm2-135m: each way to train its student, measured on the same problems.

    python -m benchmarks.ladder --student DIR/smollm2-135m --teacher 'DIR/qwen2.5-coder-1.5b?dtype=float32' --out OUT
    python -m benchmarks.ladder ... --rungs random random+grpo     # these, and training of what they start from
    python -m benchmarks.ladder ... --seed 0 1                     # two seeds, and tables of both together
    python -m benchmarks.ladder ... --set warmup.trainer.bf16=true # a value for all rungs, where their recipe has none
    python -m benchmarks.ladder ... --table                        # what is there; trains and answers nothing

A rung trains one stage (`python -m relay_core.train`) and goes on from another rung's student. Then `relay eval` asks
its student, before the next rung begins. Every command is printed. What is there is not made again, so a run that was
killed goes on with the same command. A rung takes one to two hours on 2 vCPUs.

``ladder_table.py`` has the figures and the tables.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import ladder_table
from benchmarks.command_line import add_output_options, run_benchmark
from relay_core.errors import ConfigurationError
from relay_core.evaluate import records
from relay_core.evaluate.prices import EXAMPLE_PRICES
from relay_core.evaluate.records import Record
from relay_core.evaluate.store import write_json
from relay_core.train import cost
from relay_core.train.models import is_saved

RECIPE = "smollm2-135m"
STAGES = ("distill", "warmup", "grpo")
STUDENTS: Mapping[str, str] = {"distill": "student-distilled", "warmup": "student-warm", "grpo": "student-relay"}


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to train the student.

    ``stage``: the last stage of its training. ``after``: the rung that it goes on from. ``values``: what replaces the
    recipe's values, by dotted name. ``calls``: whether the student calls.
    """

    stage: str
    after: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    calls: bool = True

    @property
    def student(self) -> str:
        """The folder of its student, in the rung's own."""
        return STUDENTS[self.stage] if self.calls or self.stage == "distill" else "student-grpo"


#: The paper places commands at random in samples; here, the samples and the rollouts have the same temperature. An
#: answer has about 80 tokens, so n has one digit.
_RANDOM = {"warmup.source": "random", "warmup.temperature": 0.7, "warmup.powers": [0]}
_GUIDED = {"warmup.source": "guided", "warmup.temperature": 0.7}
#: At the prices of the reports, and so that an answer which costs as much as the teacher's own (here about 60 tokens
#: read and 75 written) has a bill of 1.
_BILL = {
    "grpo.reward": "bill",
    "relay.prices": {"teacher_input": EXAMPLE_PRICES.teacher_input, "teacher_output": EXAMPLE_PRICES.teacher_output},
    "grpo.bill_scale": round((60 * EXAMPLE_PRICES.teacher_input + 75 * EXAMPLE_PRICES.teacher_output) / 1e6, 9),
}
#: Three of five problems are easy. Most groups of these teach nothing, since all their answers are right without a
#: call, so a rollout has more of them; without a KL term, they cost nothing after sampling. The sum of the learning
#: rates is that of the recipe.
_EASY = {
    "filter.mix": {"easy": 0.6, "hard": 0.4},
    "grpo.rollouts": 20,
    "grpo.prompts": 12,
    "grpo.trainer.beta": 0.0,
    "grpo.trainer.learning_rate": 1.5e-4,
}
#: the recipe as it is, with which the table compares the others
REFERENCE = "answers+grpo"
RUNGS: Mapping[str, Rung] = {
    "distilled": Rung("distill", calls=False),
    "distilled-1000": Rung("distill", values={"distill.problems": 1000}, calls=False),
    "answers": Rung("warmup", "distilled"),
    "random": Rung("warmup", "distilled", _RANDOM),
    "guided": Rung("warmup", "distilled", _GUIDED),
    "answers+grpo": Rung("grpo", "answers"),
    "answers+easy": Rung("grpo", "answers", _EASY),
    "answers+simple": Rung("grpo", "answers", {"grpo.reward": "simple"}),
    "answers+bill": Rung("grpo", "answers", _BILL),
    "random+grpo": Rung("grpo", "random", _RANDOM),
    "guided+grpo": Rung("grpo", "guided", _GUIDED),
    "grpo-without-calls": Rung("grpo", "distilled", {"grpo.calls": False}, calls=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Trains and measures rungs in one folder, which has a folder of its own for each seed.

    ``student``: folder or hub id of the pretrained student. ``teacher``: the teacher's engine spec. ``seed``: the
    recipe's. ``problems``, ``split``: what is answered. ``methods``: what is measured beside the rungs. ``values``:
    what replaces the recipe's values in all rungs, unless a rung has its own.
    """

    student: str
    teacher: str
    out: Path
    seed: int = 0
    problems: int = 300
    split: str = "test"
    methods: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """The folder of a rung's run."""
        return self.out / f"seed-{self.seed}" / name

    @property
    def results(self) -> Path:
        """The folder of the evaluation."""
        return self.out / f"seed-{self.seed}" / f"answers-{self.split}"

    def is_trained(self, name: str) -> bool:
        return is_saved(self.folder(name) / RUNGS[name].student)

    def train(self, name: str) -> None:
        """Train a rung's student, and those that it goes on from, unless they are there."""
        rung = RUNGS[name]
        if self.is_trained(name):
            return
        if rung.after is not None:
            self.train(rung.after)
            self._begin_as(name, rung.after)
        self._run([sys.executable, "-m", "relay_core.train", *self.training_command(name)])

    def training_command(self, name: str) -> list[str]:
        """The arguments of ``python -m relay_core.train`` for a rung's last stage."""
        rung = RUNGS[name]
        plain = rung.values.get("grpo.calls") is False
        # without calls, training starts from the recipe's student: here, from the distilled one
        student = f"{self.folder(str(rung.after)) / STUDENTS['distill']}?base={self.student}" if plain else self.student
        replaced = {**self.values, **rung.values}
        values = [part for key, value in replaced.items() for part in (f"--{key}", json.dumps(value))]
        return [
            *(rung.stage, "--recipe", RECIPE, "--seed", str(self.seed), "--student", student),
            *("--teacher", self.teacher, "--out", str(self.folder(name)), *values),
        ]

    def _begin_as(self, name: str, before: str) -> None:
        """Copy the stages of another rung's run, unless a run has begun here."""
        source, folder = self.folder(before), self.folder(name)
        if folder.exists():
            return
        half = folder.with_name(f".{folder.name}")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        stages = STAGES[: STAGES.index(RUNGS[before].stage) + 1]
        for part in (*stages, *(STUDENTS[stage] for stage in stages)):
            if (source / part).is_dir():
                shutil.copytree(source / part, half / part)
        seconds = json.loads((source / "clock.json").read_text())
        write_json(half / "clock.json", {stage: seconds[stage] for stage in stages if stage in seconds})
        half.rename(folder)

    def method(self, name: str) -> str:
        """A rung as a method of ``relay eval``."""
        kind = "relay" if RUNGS[name].calls else "teacher-free"
        model = f"{self.folder(name) / RUNGS[name].student}?base={self.student}&dtype=float32"
        return f"{kind},student={model},label={name}"

    def evaluate(self, names: Sequence[str]) -> None:
        """Answer the problems, as far as they are not answered, and write the report of all of these rungs."""
        self._run(self.evaluation_command(" ".join([*self.methods, *(self.method(name) for name in names)])))

    def evaluation_command(self, methods: str) -> list[str]:
        """``relay eval`` of some methods."""
        return [
            *(sys.executable, "-m", "relay_core.cli", "eval", "--benchmarks", "word-problems", "--split", self.split),
            *("--limit", str(self.problems), "--temperature", "0", "--max-call-tokens", "16", "--methods", methods),
            *("--student", f"{self.student}?dtype=float32", "--teacher", self.teacher, "--out", str(self.results)),
        ]

    def _run(self, command: Sequence[str]) -> None:
        print(shlex.join(command), file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode:
            raise ConfigurationError(f"{shlex.join(command)} ended with exit status {done.returncode}: see above")

    def answered(self) -> dict[str, list[Record]]:
        """The answers of each method that the last report holds, by label."""
        if not (self.results / "report.json").exists():
            raise ConfigurationError(f"{self.results} holds no report: nothing is measured yet; leave --table out")
        answered: dict[str, list[Record]] = {}
        for record in records.read(self.results):
            answered.setdefault(record.label, []).append(record)
        return answered

    def figures(self) -> dict[str, dict[str, Any]]:
        """By label, what a method's answers do not say: its throughput, and what training it has cost."""
        (benchmark,) = json.loads((self.results / "report.json").read_text())["benchmarks"]
        return {
            reported["label"]: {
                "tokens_per_s": reported["tokens_per_s"],
                **self._cost(reported["label"]),
            }
            for reported in benchmark["methods"].values()
        }

    def _cost(self, label: str) -> dict[str, float | None]:
        """What training a rung has cost, with the stages that it took over."""
        costs = cost.of_training(self.folder(label)).values() if label in RUNGS else ()
        return {
            "hours": sum(stage["seconds"] or 0 for stage in costs) / 3600 if costs else None,
            "teacher_wrote": sum(stage["teacher_wrote"] or 0 for stage in costs) if costs else None,
        }


def pooled(found: Sequence[Mapping[str, Sequence[Record]]]) -> dict[str, list[Record]]:
    """The answers of each method that all of them have."""
    return {
        label: [record for one in found for record in one[label]]
        for label in found[0]
        if all(label in one for one in found)
    }


def rows(ladders: Sequence[Ladder]) -> list[dict[str, Any]]:
    """One row for each method that all the ladders have measured, over the answers of all of them.

    A method's other figures are the means of those that the ladders have.
    """
    found = pooled([ladder.answered() for ladder in ladders])
    others = [ladder.figures() for ladder in ladders]
    made = []
    for label, figures in ladder_table.figures(found, reference=REFERENCE).items():
        each = [one[label] for one in others]
        known = {name: [one[name] for one in each if one[name] is not None] for name in each[0]}
        means = {name: sum(values) / len(values) if values else None for name, values in known.items()}
        made.append({**figures, "label": label, **means})
    return made


def show(result: Mapping[str, Any], reference: str = REFERENCE) -> None:
    """Print the tables."""
    print("\n".join([*ladder_table.table(result["rows"], reference), "", *ladder_table.routers(result["rows"])]))


def _value(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``; the value is JSON, or else a text."""
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} has no value: write NAME=VALUE, such as grpo.rollouts=40")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True, help="folder or hub id of the pretrained student")
    parser.add_argument("--teacher", required=True, help="engine spec of the teacher")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--rungs", nargs="+", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--methods", nargs="*", default=["student", "teacher"], help="what is measured beside them")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="several: each, and tables of all together")
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--set", nargs="+", default=[], type=_value, metavar="NAME=VALUE", help="for all recipes")
    parser.add_argument("--split", default="test", help="dev, to choose between rungs")
    parser.add_argument("--table", action="store_true", help="train and answer nothing: the table of what is there")
    add_output_options(parser)
    options = parser.parse_args(argv)
    ladders = [
        Ladder(student=options.student, teacher=options.teacher, out=options.out, seed=seed, problems=options.problems,
               split=options.split, methods=options.methods, values=dict(options.set))
        for seed in options.seed
    ]  # fmt: skip

    def measure() -> dict[str, Any]:
        for ladder in [] if options.table else ladders:
            for name in [name for name in RUNGS if name in options.rungs]:
                ladder.train(name)
                ladder.evaluate([rung for rung in RUNGS if ladder.is_trained(rung)])
        return {"rows": rows(ladders)}

    return run_benchmark(options, measure, show)


if __name__ == "__main__":
    raise SystemExit(main())
