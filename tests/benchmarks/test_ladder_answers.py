"""The ladder's tables from answers that are there; the documentation holds what they print."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks import ladder_answers, ladder_table
from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks.word_problems import WordProblems
from relay_core.evaluate.outcome import Outcome
from relay_core.usage import Usage

ROOT = Path(__file__).parents[2]
ANSWERS = ROOT / "docs" / "reproduction" / "word-problems"
FOUND = WordProblems().problems("test", 20)


def write(path: Path, *methods: str) -> Path:
    """Answers of methods to all problems; those of the teacher are right, and the others are 0."""
    rows = []
    for method in methods:
        for problem in FOUND:
            text = f"It is {problem.answer}." if method == "teacher" else "It is 0."
            outcome = Outcome(text=text, usage=Usage(student_tokens=9), finish_reason="stop", seconds=1.0)
            rows.append({"benchmark": "word-problems", "method": method, "problem": problem.id, "seed": 0,
                         "outcome": outcome.as_row()})  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_the_tables_of_the_documentation_are_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    documented = (ROOT / "docs" / "real-models.md").read_text().splitlines()
    assert ladder_answers.main([str(ANSWERS / "answers.jsonl.gz")]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(printed) > 25 and [line for line in printed if line not in documented] == []


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.jsonl.gz"])
def test_answers_are_graded_anew_and_named_as_in_reports(tmp_path: Path, name: str) -> None:
    methods = ("student", "teacher", "uncertain:0.13,4", "random-tokens:0.005,4", "relay:bias=-2",
               "relay,student=X?base=Y,label=grpo")  # fmt: skip
    found = ladder_answers.answered(write(tmp_path / name, *methods))
    assert list(found) == ["student alone", "teacher alone", "uncertain 0.13,4", "random tokens 0.005,4",
                           "relay bias -2", "grpo"]  # fmt: skip
    assert {*ladder_table.STUDENTS[:1], ladder_table.TEACHER} <= set(found)
    assert all(record.is_right for record in found["teacher alone"])
    assert not any(record.is_right for record in found["student alone"])
    assert [record.cluster for record in found["grpo"]] == [problem.cluster for problem in FOUND]


def test_some_kinds_of_problems_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "answers.jsonl", "student", "teacher")
    kinds = {problem.id.split("/")[1] for problem in FOUND}
    some = ladder_answers.answered(file, ["less", "boxes"])["teacher alone"]
    assert {record.problem.split("/")[1] for record in some} == kinds & {"less", "boxes"} and len(some) < len(FOUND)
    assert ladder_answers.main([str(file), "--kinds", "less", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["label"], row["accuracy"][0]) for row in rows] == [("teacher alone", 1.0), ("student alone", 0.0)]


def test_what_are_no_answers_to_word_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        ladder_answers.answered(tmp_path / "x.jsonl")
    with pytest.raises(ConfigurationError, match="has answers to gsm8k: write a file of word-problems"):
        ladder_answers.answered(ANSWERS / "answers-gsm8k.jsonl.gz")
    file = write(tmp_path / "answers.jsonl", "student")
    with pytest.raises(ConfigurationError, match="has no answers to problems of nonsense: write other --kinds"):
        ladder_answers.answered(file, ["nonsense"])
    for text in ("no JSON\n", "[1]\n", '{"method": "student"}\n'):
        (tmp_path / "broken.jsonl").write_text(text)
        with pytest.raises(ConfigurationError, match="holds no answers of relay eval"):
            ladder_answers.answered(tmp_path / "broken.jsonl")
    other = write(tmp_path / "other.jsonl", "teacher")
    assert ladder_answers.main([str(file), str(other)]) == 2
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[5:]))
    with pytest.raises(ConfigurationError, match="is none of the first 15 problems of test"):
        ladder_answers.answered(file)
