"""The page of a pair, on the bundled models and a few problems; and its tables, on records whose figures are known."""

import gzip
import json
from dataclasses import replace

import pytest

from relay_core import Prices, Relay, bundled
from relay_core.errors import ConfigurationError
from relay_core.evaluate.report import summarize
from relay_core.evaluate.reproduce import __main__ as command_line
from relay_core.evaluate.reproduce import reproduction
from relay_core.evaluate.reproduce.__main__ import main
from relay_core.evaluate.reproduce.pairs import BUNDLED, SMOLLM2, pair_named
from relay_core.evaluate.reproduce.paper import Direction, directions
from relay_core.evaluate.reproduce.reproduction import Reproduction
from relay_core.evaluate.reproduce.sections import ablation_table, direction_table, main_table, order_table
from testing.answer_records import record

PAIR = replace(
    BUNDLED, others=(), methods=("student", "grpo", "relay", "teacher", "teacher-free", "fixed:20"),
    ablations={"difficulty-aware": (), "simple": ("--reward", "simple")}, unseen="", weak_teachers={},
)  # fmt: skip


def test_the_page_of_a_pair(tmp_path):
    for name in PAIR.ablations:
        trained = tmp_path / "work" / "students" / name / "student-relay"
        place = tmp_path / "page" / "students" / name if name == "simple" else trained
        place.parent.mkdir(parents=True)
        place.symlink_to(bundled.path("student-relay"))
    places = {"out": tmp_path / "page", "work": tmp_path / "work"}
    page = Reproduction(
        pair=PAIR, **places, seeds=[0, 1], limit=5, train=False, command="python -m this", processes=2
    ).write()  # fmt: skip
    text = page.read_text()
    assert page == tmp_path / "page" / "README.md" and text.startswith("# The paper's tables on the pair `bundled`")
    for name in ("bundled-share.png", "bundled-bill.png"):
        assert f'src="{name}"' in text and (tmp_path / "page" / name).stat().st_size > 5000
    assert text.index("<img") < text.index("## ")  # the picture comes first
    for heading in (
        "Main table: ",
        "Against a random router",
        "Rewards and filter",
        "The paper's comparisons",
        "Seeds",
    ):
        assert f"## {heading}" in text
    assert "| seed 0 | seed 1 |" in text and "python -m this" in text and "49.52" in text


def test_the_answers_of_a_long_run_lie_beside_its_page(tmp_path):
    pair = replace(PAIR, methods=("student", "teacher"), ablations={}, keeps_answers=True)
    places = {"out": tmp_path / "page", "work": tmp_path / "work"}
    text = Reproduction(pair=pair, **places, seeds=[3], limit=2, command="python -m this").write().read_text()
    packed = tmp_path / "page" / "answers-seed-3.jsonl.gz"
    assert f"`{packed.name}`" in text and packed.name not in (tmp_path / "page").joinpath("README.md").read_text()[:500]
    rows = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).splitlines()]
    assert sorted(row["method"] for row in rows) == ["student", "student", "teacher", "teacher"]
    before = packed.read_bytes()

    def answered(*_, **__):
        raise AssertionError("all answers are there")

    (tmp_path / "again" / "seed-3").mkdir(parents=True)
    (tmp_path / "again" / "seed-3" / "answers.jsonl").write_bytes(gzip.decompress(before))
    again = {"out": tmp_path / "other", "work": tmp_path / "again"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Relay, "agenerate", answered)
        Reproduction(pair=pair, **again, seeds=[3], limit=2, command="python -m this").write()
    assert (tmp_path / "other" / packed.name).read_bytes() == before


def test_a_missing_student_says_how_to_train_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reproduction, "PAGES", tmp_path / "pages")  # without the students that are committed
    assert main(["--no-train", "--work", str(tmp_path), "--out", str(tmp_path), "--seeds", "0"]) == 1
    said = capsys.readouterr().err
    assert "the student difficulty-aware is missing" in said and "-m relay_core.train all --recipe bundled" in said
    assert main(["--pair", "bundles"]) == 1 and "did you mean bundled" in capsys.readouterr().err
    with pytest.raises(ConfigurationError):
        pair_named("")


def test_a_part_of_the_run_replaces_no_committed_page(monkeypatch, capsys):
    made = []

    class Made(reproduction.Reproduction):
        def write(self):
            made.append(self)
            return self.out

    monkeypatch.setattr(command_line, "Reproduction", Made)
    for arguments in (
        [],
        ["--limit", "20"],
        ["--seeds", "0"],
        ["--seeds", "0", "1"],
        ["--limit", "9", "--out", "x"],
    ):
        assert main(arguments) == 0
    assert [str(one.out) for one in made] == [
        "docs/reproduction/bundled", "build/reproduction/bundled", "build/reproduction/bundled",
        "docs/reproduction/bundled", "x",
    ]  # fmt: skip
    shipped = made[1]._specs()
    assert shipped["citer"].startswith("citer:docs/reproduction/bundled/students"), "wherever the page goes"


def test_the_commands_that_train_are_ones_that_training_takes():
    from relay_core.train.recipe import shipped

    assert BUNDLED.recipe[0] == "--recipe" and BUNDLED.recipe[1] in shipped()


def summary(rows):
    return summarize(rows, Prices())[0]


def test_a_direction_is_decided_by_its_interval():
    rows = [
        *(record("relay", i, i % 10 < 8, group="easy" if i % 2 else "hard") for i in range(200)),
        *(record("grpo", i, i % 10 < 4, group="easy" if i % 2 else "hard") for i in range(200)),
        *(record("teacher-free", i, (i + 1) % 10 < 8, group="easy" if i % 2 else "hard") for i in range(200)),
    ]
    compared = [
        Direction(said="a", first="relay", second="grpo", what="accuracy", sign=1),
        Direction(said="b", first="relay", second="grpo", what="accuracy", sign=-1),
        Direction(said="c", first="relay", second="teacher-free", what="accuracy", sign=1),
        Direction(said="d", first="relay", second="missing", what="accuracy", sign=1),
        Direction(said="e", first="relay", second="grpo", what="accuracy", sign=1, groups=("easy",)),
        Direction(said="f", first="relay", second="grpo", what="accuracy", sign=1, on="unseen"),
    ]
    table = direction_table([summary(rows)], compared, lambda name: name, "other")
    assert [(row[0], row[2]) for row in table.rows] == [
        ("a", "yes"), ("b", "no: the opposite"), ("c", "undecided"), ("e", "yes"),
    ]  # fmt: skip
    assert table.rows[0][1].startswith("+40.0")


def test_the_main_table_takes_of_a_curve_what_is_next_to_the_relays_call_ratio():
    rows = [record("relay", i, True, teacher_tokens=2, student_tokens=98) for i in range(9)]
    for bound, teacher in (("0.9", 1), ("0.5", 4), ("0.1", 40)):
        usage = {"teacher_tokens": teacher, "student_tokens": 100 - teacher}
        rows += [record(f"citer:head,{bound}", i, bound == "0.5", **usage) for i in range(9)]
    table = main_table(summary(rows), lambda name: "citer:head" if name == "citer" else name)
    assert [row[0] for row in table.rows] == ["citer:head,0.9", "relay"]
    assert table.rows[0][3:] == ["46.81", "1.34"]


def test_the_order_of_two_seeds():
    def rows(better):
        return [record(name, i, i % 10 < (9 if name == better else 3)) for name in ("a", "b") for i in range(100)]

    table = order_table({0: summary(rows("a")), 1: summary(rows("b"))}, ["a", "b"])
    assert [[cell.split(":")[0] for cell in row] for row in table.rows] == [["a", "1", "2"], ["b", "2", "1"]]


def test_ablations_without_a_student_are_left_out():
    rows = [record("relay,student=x", i, True) for i in range(5)]
    table = ablation_table(summary(rows), lambda name: "relay,student=x" if name == "ablation:simple" else name)
    assert [row[0] for row in table.rows] == ["simple"] and table.rows[0][-2:] == ["49.30", "0.43"]


def test_every_comparison_of_the_paper_is_there():
    said = [direction.said for direction in directions(["weak"], ["easy"], ["hard"])]
    for word in (
        "simple",
        "filter",
        "bonus",
        "exploration",
        "easy",
        "hard",
        "unseen",
        "weaker",
        "Fixed-20",
        "Fixed-100",
    ):
        assert any(word in text for text in said), word


ROW = {"question": "Ann has 2 cups and gets 3 more. How many cups are there?", "answer": "2 + 3 = 5\n#### 5"}


def test_the_page_of_a_pair_that_is_not_trained(tmp_path, capsys):
    (tmp_path / "gsm8k.jsonl").write_text("".join(json.dumps(ROW | {"idx": i}) + "\n" for i in range(3)))
    models = ["--student", "bundled:student-base", "--teacher", "bundled:teacher"]
    places = ["--data-dir", str(tmp_path), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "page")]
    assert main(["--pair", "smollm2-135m", *models, *places, "--limit", "2"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page" / "README.md")
    text = (tmp_path / "page" / "README.md").read_text()
    assert "## GSM8K, seed 0: methods" in text and "## GSM8K, seed 0: against a random router" in text
    for method in SMOLLM2.methods:
        assert method.partition(":")[0].partition(",")[0].replace("-", " ") in text
    assert "told (1.5B as the student)" in text and "Rewards and filter" not in text and "## Seeds" not in text
