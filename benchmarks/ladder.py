"""The ladder of the recipe smollm2-135m: each way to train its student, measured on the same problems.

    python benchmarks/ladder.py --student DIR/smollm2-135m --teacher 'DIR/qwen2.5-coder-1.5b?dtype=float32' --out DIR
    python benchmarks/ladder.py ... --rungs random random+grpo     # these and what they start from
    python benchmarks/ladder.py ... --table                        # what is there; trains and answers nothing

A rung trains one stage (`python -m relay_core.train`) and goes on from another rung's student. Then `relay eval` asks
the students one after the other. Every command is printed. What is there is not made again, so a run that was killed
goes on with the same command. A rung takes one to two hours on 2 vCPUs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.command_line import add_output_options, run_benchmark
from relay_core.errors import ConfigurationError
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
RUNGS: Mapping[str, Rung] = {
    "distilled": Rung("distill", calls=False),
    "distilled-1000": Rung("distill", values={"distill.problems": 1000}, calls=False),
    "answers": Rung("warmup", "distilled"),
    "random": Rung("warmup", "distilled", _RANDOM),
    "guided": Rung("warmup", "distilled", _GUIDED),
    "answers+grpo": Rung("grpo", "answers"),
    "answers+simple": Rung("grpo", "answers", {"grpo.reward": "simple"}),
    "answers+bill": Rung("grpo", "answers", {"grpo.reward": "bill"}),
    "random+grpo": Rung("grpo", "random", _RANDOM),
    "guided+grpo": Rung("grpo", "guided", _GUIDED),
    "grpo-without-calls": Rung("grpo", "distilled", {"grpo.calls": False}, calls=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Trains and measures rungs in one folder.

    ``student``, ``teacher``: folders or hub ids of the pretrained models; the teacher as an engine spec. ``seed``: the
    recipe's. ``problems``: how many are answered. ``methods``: what is measured beside the rungs, by :func:`evaluate`.
    """

    student: str
    teacher: str
    out: Path
    seed: int = 0
    problems: int = 300
    methods: Sequence[str] = ()

    def folder(self, name: str) -> Path:
        """The folder of a rung's run."""
        return self.out / name

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
        values = [part for key, value in rung.values.items() for part in (f"--{key}", json.dumps(value))]
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
        return f"{kind},student={self.folder(name) / RUNGS[name].student}?base={self.student},label={name}"

    def evaluate(self, names: Sequence[str], *, answered: bool = False) -> None:
        """Answer the problems, one method after the other, so that one student is loaded at a time; then report."""
        wanted = [*self.methods, *(self.method(name) for name in names)]
        for methods in [] if answered else wanted:
            self._run(self.evaluation_command(methods))
        self._run(self.evaluation_command(" ".join(wanted)))

    def evaluation_command(self, methods: str) -> list[str]:
        """``relay eval`` of some methods."""
        return [
            *(sys.executable, "-m", "relay_core.cli", "eval", "--benchmarks", "word-problems"),
            *("--limit", str(self.problems), "--temperature", "0", "--max-call-tokens", "16", "--methods", methods),
            *("--student", f"{self.student}?dtype=float32", "--teacher", self.teacher, "--out", str(self.out / "eval")),
        ]

    def _run(self, command: Sequence[str]) -> None:
        print(shlex.join(command), file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode:
            raise ConfigurationError(f"{shlex.join(command)} ended with exit status {done.returncode}: see above")

    def rows(self) -> list[dict[str, Any]]:
        """One row for each method that the last report holds."""
        file = self.out / "eval" / "report.json"
        if not file.exists():
            raise ConfigurationError(f"{file} is not there: nothing is measured yet; leave --table out")
        (benchmark,) = json.loads(file.read_text())["benchmarks"]
        rows = []
        for spec, figures in benchmark["methods"].items():
            label = figures["label"]
            costs = cost.of_training(self.folder(label)) if label in RUNGS else {}
            rows.append({
                "label": label,
                **{key: figures[key] for key in ("accuracy", "call_ratio", "calls", "called", "tokens_per_s")},
                "groups": figures["groups"],
                "router": benchmark["against_random_router"].get(spec, {}),
                "hours": sum(stage["seconds"] or 0 for stage in costs.values()) / 3600 if costs else None,
                "teacher_wrote": sum(stage["teacher_wrote"] or 0 for stage in costs.values()) if costs else None,
            })  # fmt: skip
        return rows


HEADINGS = (
    *("", "accuracy %", "call ratio %", "calls", "calls on easy, hard %", "accuracy on easy, hard %", "tokens/s"),
    *("training: hours", "teacher tokens"),
)


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rows as Markdown. Intervals are 95% bootstraps over problems."""
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "| --- |" + " ---: |" * (len(HEADINGS) - 1)
    for row in rows:
        groups = [row["groups"][name] for name in ("easy", "hard") if name in row["groups"]]
        has_calls = row["called"] > 0
        cells = [
            row["label"],
            _percent(row["accuracy"]),
            _percent(row["call_ratio"]) if row["call_ratio"]["value"] else "0",
            f"{row['calls']:.2f}" if has_calls else "",
            ", ".join(f"{100 * called:.0f}" for _, called in groups) if has_calls else "",
            ", ".join(f"{100 * accuracy:.1f}" for accuracy, _ in groups),
            "" if row["tokens_per_s"] is None else f"{row['tokens_per_s']:.0f}",
            "" if row["hours"] is None else f"{row['hours']:.1f}",
            "" if row["teacher_wrote"] is None else f"{row['teacher_wrote']:,}",
        ]
        yield "| " + " | ".join(cells) + " |"


def _percent(figure: Mapping[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{100 * figure['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def show(result: Mapping[str, Any]) -> None:
    """Print the table."""
    print("\n".join(table(result["rows"])))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True, help="folder or hub id of the pretrained student")
    parser.add_argument("--teacher", required=True, help="engine spec of the teacher")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--rungs", nargs="+", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--methods", nargs="*", default=["student", "teacher"], help="what is measured beside them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--problems", type=int, default=300, help="problems of the split test")
    parser.add_argument("--table", action="store_true", help="train and answer nothing: the table of what is there")
    add_output_options(parser)
    options = parser.parse_args(argv)
    ladder = Ladder(student=options.student, teacher=options.teacher, out=options.out, seed=options.seed,
                    problems=options.problems, methods=options.methods)  # fmt: skip

    def measure() -> dict[str, Any]:
        if not options.table:
            for name in options.rungs:
                ladder.train(name)
            ladder.evaluate([name for name in RUNGS if name in options.rungs])
        return {"rows": ladder.rows()}

    return run_benchmark(options, measure, show)


if __name__ == "__main__":
    raise SystemExit(main())
