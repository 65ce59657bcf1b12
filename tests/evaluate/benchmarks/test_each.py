"""What is particular to each benchmark: prompts, groups, right answers, tolerances."""

import json
from pathlib import Path

import pytest

from relay_core import ConfigurationError
from relay_core.evaluate.benchmarks import benchmark_from_spec
from relay_core.evaluate.benchmarks.base import INSTRUCTION
from relay_core.evaluate.benchmarks.big_bench_hard import BigBenchHard

DATA = Path(__file__).parent / "data"


def problems(name):
    benchmark = benchmark_from_spec(name, data_dir=DATA)
    return benchmark, {p.id: p for p in benchmark.problems("test")}


def content(problem):
    (message,) = problem.messages
    assert message["role"] == "user" and message["content"].endswith("\n" + INSTRUCTION)
    return message["content"].removesuffix("\n" + INSTRUCTION)


def test_gsm8k():
    benchmark, by_id = problems("gsm8k")
    assert {p.answer for p in by_id.values()} == {"108", "1,500"}
    assert benchmark.grade("She saves $1500.", by_id["1"]) and not benchmark.grade("She saves $250.", by_id["1"])
    with pytest.raises(ConfigurationError, match="row 1: the column 'answer' has no ####"):
        benchmark.problem({"question": "q", "answer": "5"}, 0, "x, row 1")


def test_math_500():
    benchmark, by_id = problems("math-500")
    assert benchmark.groups == ("level 1", "level 4")
    assert content(by_id["test/algebra/9001.json"]) == "Solve $4x = 2$."
    assert benchmark.grade(r"\boxed{0.5}", by_id["test/algebra/9001.json"])


def test_minerva_reads_both_published_forms():
    benchmark, by_id = problems("minerva")
    assert by_id["4"].answer == r"4\pi" and by_id["4"].group == "Mechanics" and by_id["1"].answer == "2.5e-19"
    assert benchmark.grade(r"\boxed{2.5 \times 10^{-19}}", by_id["1"])
    with pytest.raises(ConfigurationError, match=r"row 1: the column 'solution' has no \\boxed"):
        benchmark.problem({"problem": "q", "solution": "none"}, 0, "x, row 1")


def test_olympiad_bench():
    benchmark, by_id = problems("olympiad-bench")
    assert set(by_id) == {"7001", "7002", "7003"}  # no images
    assert benchmark.groups == ("Algebra", "Geometry", "Number Theory")
    assert benchmark.grade(r"\boxed{3, 0}", by_id["7001"]) and not benchmark.grade(r"\boxed{3}", by_id["7001"])
    unit = "Give the answer in the unit $cm^2$, without the unit."
    assert content(by_id["7002"]) == f"Let $Q$ be a square of side 5 cm.\nWhat is the area of $Q$?\n{unit}"
    assert benchmark.grade(r"\boxed{25 \text{ cm}^2}", by_id["7002"])
    assert benchmark.grade(r"\boxed{4.26}", by_id["7003"]) and not benchmark.grade(r"\boxed{4.4}", by_id["7003"])
    row = json.loads((DATA / "olympiadbench.jsonl").read_text().splitlines()[0])
    assert benchmark.problem({**row, "final_answer": ["100,200"]}, 0, "x").answer == "100, 200"
    assert benchmark.problem({**row, "final_answer": ["2", "3"]}, 0, "x").answer == "2, 3"
    assert benchmark.problem({**row, "error": "1e-1,1e-2"}, 0, "x").tolerance == 0.1
    with pytest.raises(ConfigurationError, match="x: the column 'error' is 'small'"):
        benchmark.problem({**row, "error": "small"}, 0, "x")


def test_aime():
    benchmark, by_id = problems("aime-2024")
    assert by_id["90"].answer == "024" and benchmark.grade(r"\boxed{24}", by_id["90"])


@pytest.mark.parametrize(("name", "id", "letter"), [("mmlu-pro", "5", "C"), ("super-gpqa", "f00d", "B")])
def test_multiple_choice(name, id, letter):
    benchmark, by_id = problems(name)
    lines = content(by_id[id]).split("\n")
    assert lines[1].startswith("A. ") and lines[3].startswith("C. ") and by_id[id].answer == letter
    assert benchmark.grade(f"The answer is ({letter}).", by_id[id]) and not benchmark.grade(
        "The answer is A", by_id[id]
    )
    assert benchmark.answer_in(r"\boxed{\text{C. 29}}") == "C" and benchmark.answer_in("I cannot say") is None
    row = json.loads((DATA / f"{name.replace('-', '_')}.jsonl").read_text().splitlines()[0])
    column = "answer" if name == "mmlu-pro" else "answer_letter"
    with pytest.raises(ConfigurationError, match=f"x: the column '{column}' is 'J': write a letter from A to [CE]"):
        benchmark.problem({**row, column: "J"}, 0, "x")
    with pytest.raises(ConfigurationError, match="'options' must hold a list"):
        benchmark.problem({**row, "options": "A or B"}, 0, "x")


@pytest.mark.parametrize(
    ("task", "right", "wrong"),
    [
        ("date_understanding", [r"\boxed{A}", r"\boxed{(A)}", "The answer is (A)."], [r"\boxed{B}", "05/04/2009"]),
        (
            "navigate",
            [r"\boxed{Yes}", r"\boxed{\text{yes}}", "Yes.", "The answer is yes."],
            [r"\boxed{No}", "Yes or no"],
        ),
        (
            "word_sorting",
            [r"\boxed{apple, fig, pear}", r"\boxed{\text{apple fig pear}}"],
            [r"\boxed{fig, apple, pear}"],
        ),
        ("object_counting", [r"\boxed{16}", "#### 16"], [r"\boxed{1}", "166"]),
        ("dyck_languages", [r"\boxed{> ] )}", "The answer is >])"], [r"\boxed{> )}"]),
    ],
)
def test_big_bench_hard_has_letters_words_and_numbers(task, right, wrong):
    row = json.loads((DATA / "bbh" / f"{task}.jsonl").read_text())
    benchmark = BigBenchHard(data_dir=DATA)
    problem = benchmark.problem({**row, "config": task}, 0, "x")
    assert (problem.group, problem.id) == (task, f"{task}/0")
    assert [text for text in right if not benchmark.grade(text, problem)] == []
    assert [text for text in wrong if benchmark.grade(text, problem)] == []


def test_bundled_forms():
    shares = {"easy": 4, "medium": 5, "hard": 1}
    for name, kind in (("bundled-unseen", {"family": "HELD_OUT"}), ("bundled-retrieval", {"form": "context"})):
        benchmark = benchmark_from_spec(name)
        drawn = benchmark.problems("test", 10)
        assert {group: sum(p.group == group for p in drawn) for group in shares} == shares
        assert len({getattr(p, field) for p in drawn for field in kind}) == 1
        with pytest.raises(ConfigurationError, match=f"{name}: write the split test, the number of problems"):
            benchmark.problems("test")
    assert all(p.context for p in benchmark_from_spec("bundled-retrieval").problems("test", 4))
    drawn = benchmark_from_spec("bundled").problems("test", 5)
    assert drawn == benchmark_from_spec("bundled").problems("test", 5) and drawn[0].solution.endswith("}.")
