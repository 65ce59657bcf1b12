"""The ladder: its commands, what a rung takes over from another, and the table. Nothing is trained here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import ladder
from benchmarks.ladder import RUNGS, STAGES, Ladder
from relay_core.evaluate.methods import split_specs
from relay_core.train.__main__ import parse
from relay_core.train.recipe import load


class Recorded(Ladder):
    """Runs no command: notes it, and writes what training would leave."""

    commands: list[str] = []  # noqa: RUF012

    def _run(self, command: Sequence[str]) -> None:
        self.commands.append(" ".join(command[2:]))
        if command[2] != "relay_core.train":
            return
        out = Path(command[command.index("--out") + 1])
        stage = command[3]
        (name,) = (name for name in RUNGS if self.folder(name) == out)
        for folder in (stage, RUNGS[name].student):
            (out / folder).mkdir(parents=True, exist_ok=True)
        (out / RUNGS[name].student / "model.safetensors").touch()
        (out / RUNGS[name].student / "config.json").write_text("{}")
        clock = out / "clock.json"
        clock.write_text(json.dumps({**(json.loads(clock.read_text()) if clock.exists() else {}), stage: 3600.0}))


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    monkeypatch.setattr(Recorded, "commands", [])
    return Recorded(student="base", teacher="teacher?dtype=float32", out=tmp_path, methods=["student"])


@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_is_a_recipe_and_goes_on_from_an_earlier_stage(name: str, tmp_path: Path) -> None:
    made = Ladder(student="base", teacher="teacher?dtype=float32", out=tmp_path, seed=3)
    rung = RUNGS[name]
    args, overrides = parse(made.training_command(name))
    recipe = load(args.recipe, overrides)
    assert (args.stage, recipe.seed, recipe.teacher) == (rung.stage, 3, "teacher?dtype=float32")
    for value, expected in rung.values.items():
        section, _, field = value.partition(".")
        assert getattr(getattr(recipe, section), field) == expected
    if rung.after is not None:
        before = RUNGS[rung.after]
        assert STAGES.index(before.stage) < STAGES.index(rung.stage)
        assert all(rung.values[value] == expected for value, expected in before.values.items())
    assert split_specs(made.method(name)) == [made.method(name)]


def test_a_rung_trains_what_it_goes_on_from_once_and_takes_over_its_stages(recorded: Recorded) -> None:
    for name in ("answers+grpo", "random", "answers+bill", "answers+grpo"):
        recorded.train(name)
    trained = [command.split()[1] + " " + Path(command.partition("--out ")[2].split()[0]).name for command in
               recorded.commands]  # fmt: skip
    assert trained == [
        "distill distilled", "warmup answers", "grpo answers+grpo", "warmup random", "grpo answers+bill"
    ]  # fmt: skip
    inside = {path.name for path in recorded.folder("random").iterdir()}
    assert inside == {"distill", "student-distilled", "warmup", "student-warm", "clock.json"}
    assert json.loads((recorded.folder("answers+bill") / "clock.json").read_text()) == dict.fromkeys(STAGES, 3600.0)


def test_training_without_calls_starts_from_the_distilled_student(recorded: Recorded) -> None:
    recorded.train("grpo-without-calls")
    _, overrides = parse(recorded.training_command("grpo-without-calls"))
    assert overrides["student"] == f"{recorded.folder('distilled')}/student-distilled?base=base"
    assert recorded.method("grpo-without-calls").startswith("teacher-free,student=")


def test_the_students_are_asked_one_after_the_other_and_reported_together(recorded: Recorded) -> None:
    recorded.evaluate(["answers", "random"])
    methods = [command.partition("--methods ")[2].partition(" --student")[0] for command in recorded.commands]
    assert methods[:3] == ["student", recorded.method("answers"), recorded.method("random")]
    assert methods[3] == " ".join(methods[:3])


def test_the_table_holds_what_was_measured_and_what_training_cost(recorded: Recorded, capsys) -> None:
    assert ladder.main(["--student", "base", "--teacher", "t", "--out", str(recorded.out), "--table"]) == 2
    assert "nothing is measured yet" in capsys.readouterr().err
    recorded.train("answers")
    (recorded.folder("answers") / "warmup" / "rows.json").write_text('{"teacher_wrote": 1234, "teacher_read": 5}')
    figure = {"value": 0.5, "interval": [0.4, 0.6]}
    shared = {"accuracy": figure, "tokens_per_s": 12.4}
    methods = {
        "student": {**shared, "label": "student alone", "call_ratio": {"value": 0.0, "interval": [0.0, 0.0]},
                    "calls": 0.0, "called": 0.0, "groups": {"hard": [0.1, 0.0], "easy": [0.9, 0.0]}},
        recorded.method("answers"): {**shared, "label": "answers", "call_ratio": figure, "calls": 0.51,
                                     "called": 0.5, "groups": {"hard": [0.8, 0.75], "easy": [0.9, 0.1]}},
    }  # fmt: skip
    (recorded.out / "eval").mkdir()
    report = {"benchmarks": [{"methods": methods, "against_random_router": {}}]}
    (recorded.out / "eval" / "report.json").write_text(json.dumps(report))
    assert ladder.main(["--student", "base", "--teacher", "t", "--out", str(recorded.out), "--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| student alone | 50.0 (40.0 to 60.0) | 0 |  |  | 90.0, 10.0 | 12 |  |  |",
        "| answers | 50.0 (40.0 to 60.0) | 50.0 (40.0 to 60.0) | 0.51 | 10, 75 | 90.0, 80.0 | 12 | 2.0 | 1,234 |",
    ]
