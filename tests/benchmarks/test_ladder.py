"""The ladder: its commands, what a rung takes over from another, and the table. Nothing is trained here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import ladder
from benchmarks.ladder import RUNGS, STAGES, Ladder
from relay_core.evaluate import records
from relay_core.evaluate.benchmarks.word_problems import WordProblems
from relay_core.evaluate.methods import split_specs
from relay_core.evaluate.outcome import Outcome
from relay_core.evaluate.records import Record, Status
from relay_core.train.__main__ import parse
from relay_core.train.recipe import load
from relay_core.usage import Usage


class Recorded(Ladder):
    """Runs no command: notes it, and writes what training would leave."""

    commands: list[str] = []  # noqa: RUF012

    def _run(self, command: Sequence[str]) -> None:
        self.commands.append(" ".join(command[2:]))
        if command[2] != "relay_core.train":
            return
        out = Path(command[command.index("--out") + 1])
        stage = command[3]
        name = out.name
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
        made_of: object = recipe
        for part in value.split("."):
            made_of = made_of[part] if isinstance(made_of, Mapping) else getattr(made_of, part)
        assert made_of == expected
    if rung.values.get("grpo.reward") == "bill":
        assert recipe.settings().prices is not None
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


def test_values_for_all_rungs_are_those_of_their_recipes(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ladder, "Ladder", Recorded)
    command = ["--student", "base", "--teacher", "t", "--out", str(recorded.out), "--rungs", "answers+simple"]
    ladder.main([*command, "--set", "warmup.trainer.bf16=true", "warmup.matching=[0-9]", "grpo.reward=bill"])
    made = [line.split() for line in recorded.commands if "relay_core.train" in line]
    recipes = [load(args.recipe, overrides) for args, overrides in (parse(words[1:]) for words in made)]
    assert [recipe.warmup.trainer["bf16"] for recipe in recipes] == [True] * 3
    assert [recipe.warmup.matching for recipe in recipes] == ["[0-9]"] * 3
    assert [recipe.grpo.reward for recipe in recipes] == ["bill", "bill", "simple"]  # a rung's own comes first
    with pytest.raises(SystemExit):
        ladder.main([*command, "--set", "grpo.rollouts"])
    assert "'grpo.rollouts' has no value: write NAME=VALUE" in capsys.readouterr().err


def test_each_student_is_asked_before_the_next_rung_is_trained(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ladder, "Ladder", Recorded)
    command = ["--student", "base", "--teacher", "t", "--out", str(recorded.out), "--methods", "student"]
    assert ladder.main([*command, "--rungs", "random", "answers", "--split", "dev"]) == 2  # nothing was answered
    assert "nothing is measured yet" in capsys.readouterr().err
    asked = [line.partition("--methods ")[2].partition(" --student")[0] for line in recorded.commands if " eval " in
             f" {line} "]  # fmt: skip
    one = ["student", recorded.method("distilled"), recorded.method("answers")]
    assert [line.split() for line in asked] == [one, [*one, recorded.method("random")]]
    assert all("--split dev" in line for line in recorded.commands if "--methods" in line)


def outcome(text: str, written: int, teacher: int) -> Outcome:
    usage = Usage(student_tokens=written - teacher, teacher_tokens=teacher, calls=int(teacher > 0))
    return Outcome(text=text, usage=usage, finish_reason="stop", seconds=1.0)


def test_the_table_holds_what_was_measured_and_what_training_cost(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.train("answers")
    (recorded.folder("answers") / "warmup" / "rows.json").write_text('{"teacher_wrote": 1234, "teacher_read": 5}')
    found = WordProblems().problems("test", 10)
    easy = [problem for problem in found if problem.group == "easy"]
    made = []
    for label in ("student alone", "teacher alone", "answers", ladder.REFERENCE):
        for problem in found:
            is_right = label in ("teacher alone", ladder.REFERENCE) or (problem.group == "easy" and label == "answers")
            calls = 10 if label == "teacher alone" else 5 if problem is easy[0] and label == "answers" else 0
            made.append(Record(
                benchmark="word-problems", problem=problem.id, sample=0, group=problem.group, cluster=problem.cluster,
                method=label, label=label,
                curve=label, seed=0, gold=str(problem.answer), stated=None,
                status=Status.RIGHT if is_right else Status.WRONG, outcome=outcome("4", 10, calls),
            ))  # fmt: skip
    recorded.results.mkdir(parents=True)
    records.write(recorded.results, made)
    methods = {name: {"label": name, "tokens_per_s": 12.4} for name in {row.label for row in made}}
    (recorded.results / "report.json").write_text(json.dumps({"benchmarks": [{"methods": methods}]}))
    assert ladder.main(["--student", "base", "--teacher", "t", "--out", str(recorded.out), "--table"]) == 0
    methods_table, _, routers_table = capsys.readouterr().out.partition("\n\n")
    first, reference = (line.split(" | ") for line in methods_table.splitlines()[4:])
    assert (first[0], first[1].split()[0], first[3].split()[0]) == ("| answers", "40.0", "-60.0")
    by_calculation: dict[str, str] = {problem.cluster: problem.group for problem in found}
    alike = sum(group == "easy" for group in by_calculation.values()) / len(by_calculation)
    assert first[2] == f"{100 * alike:.1f}"
    assert (first[4].split()[0], first[5], first[6].split()[0], first[7].split()[0]) == ("5.0", "0.10", "25", "+25")
    assert first[8:] == ["0", "100.0, 0.0", "12", "2.0", "1,234 |"]
    assert reference[1:6] == ["100.0 (100.0 to 100.0)", "100.0", "", "0", ""]
    student, teacher, first, reference = (line.split(" | ") for line in routers_table.splitlines()[2:])
    # nothing to compare them with: none is distilled, and there is no column for it
    assert student[1:] == ["", "", "", "0.0006 |"] and teacher[1:] == ["", "", "", "0.0030 |"]
    # 40% are right with 5 of the teacher's 100 tokens, for which a router between 0% and 100% is right in 5%
    assert (first[1].split()[0], first[2].split()[0]) == ("40.0", "+35.0")
    # nothing was read, and the teacher's tokens are dearer: the same share of the difference in price
    assert first[3].split()[0] == "+35.0"
    assert reference[1:3] == ["100.0 (100.0 to 100.0)", "+100.0 (+100.0 to +100.0)"]

    # a second seed, in which all answers of the other methods are wrong: means of both
    worse = [replace(record, status=Status.WRONG) if record.label == "answers" else record for record in made]
    second = recorded.results.parent.with_name("seed-1") / recorded.results.name
    shutil.copytree(recorded.results, second)
    records.write(second, [record for record in worse if record.label != "student alone"])
    both = ["--student", "base", "--teacher", "t", "--out", str(recorded.out), "--table", "--seed", "0", "1"]
    assert ladder.main(both) == 0
    lines = capsys.readouterr().out.partition("\n\n")[0].splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| teacher alone", "| answers", f"| {ladder.REFERENCE}"]
    assert lines[1].split(" | ")[1].split()[0] == "20.0" and lines[1].split(" | ")[-1] == "1,234 |"
