"""Benchmarks by name, and what all published ones share; the fixtures are rows of our own in the published columns."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay_core import ConfigurationError, RelaySettings
from relay_core.evaluate.benchmarks import BENCHMARKS, Benchmark, base, benchmark_from_spec
from relay_core.evaluate.dataset import DatasetTask
from relay_core.evaluate.dataset_rows import file_rows
from relay_core.evaluate.task import task_from_spec
from testing.tasks import FixedTask, problem

DATA = Path(__file__).parent / "data"
MADE = ("bundled", "word-problems")  # how the names of those begin whose problems are made, not read
PUBLISHED = [name for name in BENCHMARKS if not name.startswith(MADE)]
#: the columns without which a row is no problem, by benchmark; the first file of the benchmark has them
NEEDED = {
    "gsm8k": ["question", "answer"],
    "math-500": ["problem", "answer", "level"],
    "minerva": ["problem", "solution"],
    "olympiad-bench": ["id", "question", "final_answer", "subfield"],
    "aime-2024": ["problem", "answer"],
    "aime-2025": ["problem", "answer"],
    "mmlu-pro": ["question", "options", "answer", "category"],
    "super-gpqa": ["question", "options", "answer_letter", "discipline"],
    "big-bench-hard": ["input", "target"],
}


@pytest.fixture
def data(tmp_path):
    """The fixtures, and an empty-handed row for each task of Big-Bench Hard that they lack."""
    from relay_core.evaluate.benchmarks.big_bench_hard import TASKS

    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    for task in TASKS:
        file = tmp_path / "bbh" / f"{task}.jsonl"
        if not file.exists():
            file.write_text(json.dumps({"input": f"A question of {task}", "target": "True"}) + "\n")
    return tmp_path


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_gives_problems_settings_and_grades(name, data):
    benchmark = benchmark_from_spec(name, data_dir=data)
    assert isinstance(benchmark, Benchmark) and benchmark.name == name and benchmark.title
    assert benchmark.samples == (32 if name.startswith("aime") else 1)
    assert RelaySettings().merged(benchmark.settings).enable_thinking is False
    n = 4 if name.startswith(MADE) else None
    problems = benchmark.problems("test", n)
    assert problems and {p.group for p in problems} - {""} <= set(benchmark.groups)
    for p in problems:
        assert benchmark.grade(f"So it is $\\boxed{{{p.answer}}}$.", p)
        assert not benchmark.grade(r"So it is $\boxed{-987654}$.", p) and not benchmark.grade("", p)
    if not name.startswith("word-problems"):  # whose answers are the last numbers
        assert benchmark.answer_in(r"It is \boxed{B}.") == "B"
    assert benchmark.answer_in("It is.") is None
    assert benchmark.problems("test", 1, seed=3) == benchmark.problems("test", 1, seed=3)
    assert task_from_spec(name).name == name  # nothing is fetched until problems are drawn


@pytest.mark.parametrize(("name", "column"), [(name, column) for name in PUBLISHED for column in NEEDED[name]])
def test_a_row_that_lacks_a_column_says_which(name, column, data):
    benchmark = benchmark_from_spec(name, data_dir=data)
    file = data / f"{benchmark.sources[0].file}.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for change, message in ((None, "is empty"), ("gone", "there is no column")):
        row = {**rows[0], column: None} if change is None else {k: v for k, v in rows[0].items() if k != column}
        file.write_text(json.dumps(row) + "\n")
        if name == "minerva" and column == "problem" and change is None:
            message = "'problem' is empty"
        with pytest.raises(ConfigurationError, match=rf"row 1: .*{message}") as caught:
            benchmark_from_spec(name, data_dir=data).problems("test")
        assert repr(column) in str(caught.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_hub_gives_the_same_problems(name, data, monkeypatch):
    benchmark = benchmark_from_spec(name, data_dir=data)
    files = {(s.path, s.config, s.split): data / f"{s.file}.jsonl" for s in benchmark.sources}
    monkeypatch.setattr(base, "hub_rows", lambda path, config, split: file_rows(files[path, config, split]))
    assert benchmark_from_spec(name).problems("test") == benchmark.problems("test")


def test_parquet_and_what_is_not_there(data):
    import pyarrow
    from pyarrow import parquet

    rows = [json.loads(line) for line in (data / "gsm8k.jsonl").read_text().splitlines()]
    before = benchmark_from_spec("gsm8k", data_dir=data).problems("test")
    (data / "gsm8k.jsonl").unlink()
    with pytest.raises(ConfigurationError, match=r"has no file gsm8k\.jsonl or gsm8k\.parquet: put the rows of openai"):
        benchmark_from_spec("gsm8k", data_dir=data).problems("test")
    parquet.write_table(pyarrow.Table.from_pylist(rows), data / "gsm8k.parquet")
    assert benchmark_from_spec("gsm8k", data_dir=data).problems("test") == before
    with pytest.raises(ConfigurationError, match="there is no folder"):
        benchmark_from_spec("gsm8k", data_dir=data / "nowhere")
    with pytest.raises(ConfigurationError, match="no split 'train': a benchmark has the split test only"):
        benchmark_from_spec("gsm8k", data_dir=data).problems("train")
    with pytest.raises(ConfigurationError, match="gsm8k has 2 problems, 3 are needed"):
        benchmark_from_spec("gsm8k", data_dir=data).problems("test", 3)


def test_two_rows_of_one_id_are_refused(data):
    file = data / "math500.jsonl"
    file.write_text(file.read_text() + file.read_text())
    with pytest.raises(ConfigurationError, match=r"math-500: two rows have the id 'test/algebra/9001\.json'"):
        benchmark_from_spec("math-500", data_dir=data).problems("test")


def test_any_task_is_a_benchmark(data, monkeypatch):
    file = str(DATA / "gsm8k.jsonl")
    plain = benchmark_from_spec({"path": file, "grader": "number"})
    assert (plain.name, plain.title, plain.samples, dict(plain.settings)) == ("gsm8k", "gsm8k", 1, {})
    assert plain.size("test") == len(file_rows(DATA / "gsm8k.jsonl")) and plain.groups == (), (
        "all rows are test problems"
    )
    divided = benchmark_from_spec({"path": file, "grader": "number", "splits": {"train": 0.5, "test": 0.5}})
    assert 0 < divided.size("test") < plain.size("test")
    for ungraded in (file, {"path": file}, "openai/gsm8k"):
        with pytest.raises(ConfigurationError, match="say how its answers are graded: --grader number"):
            benchmark_from_spec(ungraded)
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(Mine=lambda: DatasetTask(path=file, grader="number")))
    assert benchmark_from_spec("mine:Mine").title == "gsm8k", "a class that names its grader itself"
    fixed = benchmark_from_spec(FixedTask([problem("q", 5)]))
    assert fixed.grade(r"\boxed{5}", fixed.problems("test")[0])
    assert fixed.answer_in(" x ") == "x" and fixed.answer_in(" ") is None
    assert benchmark_from_spec(fixed) is fixed
    with pytest.raises(ConfigurationError, match="gsm8k, math-500"):
        benchmark_from_spec("gsm9k")


def test_naming_one_loads_nothing_heavy(packages_after):
    loaded = packages_after("from relay_core.evaluate import benchmarks; benchmarks.benchmark_from_spec('minerva')")
    assert not loaded & {"torch", "transformers", "datasets", "pyarrow", "math_verify", "sympy"}
