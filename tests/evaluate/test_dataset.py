import json

import pytest

from relay_core import ConfigurationError, hub
from relay_core.evaluate import dataset
from relay_core.evaluate.dataset import DatasetTask
from relay_core.evaluate.task import Task, task_from_spec

ROWS = [{"question": f"{i} + 1?", "answer": i + 1, "level": "easy" if i % 3 else "hard"} for i in range(30)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "sums.jsonl", ROWS)


def questions(problems):
    return [p.messages[-1]["content"] for p in problems]


def test_a_path_alone_is_a_task(file):
    task = task_from_spec(file)
    assert isinstance(task, Task) and task.name == "sums" and task.groups == ()
    problems = task.problems("test")
    assert len(problems) == 3 and problems[0].messages[0]["role"] == "user"
    assert task.grade(f" {problems[0].answer}", problems[0]) and not task.grade("no", problems[0])


def test_named_columns(tmp_path):
    rows = [{"q": "1 + 1?", "a": "2", "kind": "sum", "name": "one", "text": 7}]
    task = DatasetTask(
        path=write(tmp_path / "x.jsonl", rows), question="q", answer="a", group="kind", id="name", cluster="text",
        system="Be brief.", splits={"test": 1.0}, grader="number",
    )  # fmt: skip
    (problem,) = task.problems("test")
    assert (problem.id, problem.answer, problem.group, problem.cluster) == ("one", "2", "sum", "7")
    assert problem.messages == ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"})
    assert task.groups == ("sum",) and task.grade("It is 2.", problem)


def test_a_column_of_messages(tmp_path):
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    path = write(tmp_path / "x.jsonl", [{"chat": messages, "answer": "A"}])
    task = task_from_spec({"path": path, "messages": "chat", "splits": {"test": 1}})
    assert list(task.problems("test")[0].messages) == messages
    with pytest.raises(ConfigurationError, match=r"row 1.*has a system message already"):
        DatasetTask(path=path, messages="chat", system="T", splits={"test": 1}).problems("test")
    with pytest.raises(ConfigurationError, match="must hold a list of messages"):
        DatasetTask(path=path, messages="answer", splits={"test": 1}).problems("test")


def test_no_problem_is_in_two_splits_and_the_split_seed_decides(tmp_path):
    path = write(tmp_path / "twice.jsonl", ROWS + ROWS)
    task = DatasetTask(path=path, splits={"train": 0.5, "test": 0.3})
    train, test = (set(questions(task.problems(split))) for split in ("train", "test"))
    assert (len(train), len(test)) == (15, 9) and not train & test
    assert len(task.problems("train")) == 30
    again = DatasetTask(path=path, splits={"train": 0.5, "test": 0.3})
    assert again.problems("train", 7, seed=3) == task.problems("train", 7, seed=3)
    assert set(questions(DatasetTask(path=path, splits={"train": 0.5}, split_seed=1).problems("train"))) != train


def test_the_first_k_of_n_problems_are_the_k_of_that_seed(file):
    task = DatasetTask(path=file)
    assert task.problems("train", 5, seed=1) == task.problems("train", 20, seed=1)[:5]
    assert task.problems("train", 20, seed=1) != task.problems("train", 20, seed=2)


def test_a_mix_of_groups(file):
    task = DatasetTask(path=file, group="level", splits={"train": 1.0})
    drawn = task.problems("train", 9, mix={"easy": 0.5, "hard": 0.25})
    assert task.groups == ("easy", "hard") and sorted(p.group for p in drawn) == ["easy"] * 6 + ["hard"] * 3
    assert drawn == task.problems("train", 9, mix={"easy": 0.5, "hard": 0.25})
    with pytest.raises(ConfigurationError, match=r"no group 'hart'; did you mean hard\?"):
        task.problems("train", 9, mix={"hart": 1.0})
    with pytest.raises(ConfigurationError, match=r"the group 'hard' of .* has 10 problems, 20 are needed"):
        task.problems("train", 20, mix={"hard": 1})
    with pytest.raises(ConfigurationError, match="shares of 0 or more"):
        task.problems("train", 9, mix={"hard": 0})
    with pytest.raises(ConfigurationError, match="needs the number"):
        task.problems("train", mix={"hard": 1})


def test_a_folder_with_a_file_for_each_split(tmp_path):
    write(tmp_path / "train.jsonl", ROWS[:20])
    write(tmp_path / "test.jsonl", ROWS[15:])  # five problems are in both files
    task = DatasetTask(path=str(tmp_path), splits={"train": "train.jsonl", "test": "test.jsonl"})
    assert task.name == tmp_path.name
    assert (len(task.problems("train")), len(task.problems("test"))) == (15, 15)
    assert not set(questions(task.problems("train"))) & set(questions(task.problems("test")))


def test_parquet(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "sums.parquet")
    write(tmp_path / "sums.jsonl", ROWS)
    made = DatasetTask(path=str(tmp_path / "sums.parquet"), group="level")
    assert made.problems("train") == DatasetTask(path=str(tmp_path / "sums.jsonl"), group="level").problems("train")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(ConfigurationError, match="cannot be read as Parquet"):
        DatasetTask(path=str(tmp_path / "bad.parquet")).problems("test")


def test_the_hub(monkeypatch):
    import datasets

    loaded = []

    def load_dataset(path, config, *, split):
        loaded.append((path, config, split))
        if split == "nothing":
            raise ValueError("Unknown split")
        return datasets.Dataset.from_list(ROWS[:20] if split == "train" else ROWS[20:])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "check_dataset", lambda path: None)
    task = task_from_spec({"path": "openai/gsm8k", "config": "main", "grader": "number"})
    assert task.name == "openai/gsm8k" and loaded == []
    assert (len(task.problems("train")), len(task.problems("test", 4))) == (20, 4)
    assert loaded == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    shared = DatasetTask(path="openai/gsm8k", splits={"train": 0.5, "test": 0.5})
    assert len(shared.problems("test")) == 10
    with pytest.raises(ConfigurationError, match="split 'nothing' of a/b cannot be loaded: Unknown split"):
        DatasetTask(path="a/b", splits={"test": "nothing"}).problems("test")


def test_a_misspelled_task_names_the_nearest_one():
    with pytest.raises(ConfigurationError, match=r"task is 'gsm8': did you mean gsm8k\? Otherwise write bundled, "):
        task_from_spec("gsm8")
    with pytest.raises(ConfigurationError, match="task is 'xyz': write bundled, "):
        task_from_spec("xyz")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pth": "x"}, r"no 'pth'; did you mean path\?"),
        ({"answer": "a"}, "no path"),
        ({"path": "nowhere.jsonl"}, "there is no file nowhere.jsonl"),
        ({"path": 3}, "task.path is 3"),
        ({"question": ""}, "task.question is ''"),
        ({"question": "a", "messages": "b"}, "one of the two columns"),
        ({"split_seed": "x"}, "whole number"),
        ({"splits": {}}, "write a mapping"),
        ({"splits": {"train": 0.5, "test": "x.jsonl"}}, "names only, or shares only"),
        ({"splits": {"train": 0.9, "test": 0.2}}, "add up to at most 1"),
        ({"splits": {"train": 0}}, "above 0"),
        ({"splits": {"train": True}}, "names only, or shares only"),
        ({"splits": {"train": "x.jsonl"}}, "is a file: write shares"),
        ({"grader": "exakt"}, "did you mean exact"),
    ],
)
def test_bad_values_are_refused_when_the_task_is_built(file, values, message):
    given = values if {"path", "pth", "answer"} & values.keys() else {"path": file, **values}
    with pytest.raises(ConfigurationError, match=message):
        DatasetTask.from_mapping(given)


def test_folders_and_files_of_another_kind(tmp_path):
    (tmp_path / "data.csv").write_text("a,b\n")
    with pytest.raises(ConfigurationError, match=r"ends in \.csv: write the path of a \.jsonl"):
        DatasetTask(path=str(tmp_path / "data.csv"))
    with pytest.raises(ConfigurationError, match=r"is a folder: write task\.splits"):
        DatasetTask(path=str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"no file test\.jsonl in"):
        DatasetTask(path=str(tmp_path), splits={"test": "test.jsonl"})
    write(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(ConfigurationError, match="two splits are the same"):
        DatasetTask(path=str(tmp_path), splits={"train": "test.jsonl", "test": "test.jsonl"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ('{"question": "q", "answer": 1}\n{"quest', "line 2: this is not JSON"),
        ("[1]\n", "one JSON object a line, not a list"),
        ('{"question": "q", "answr": 1}\n', "row 1: there is no column 'answer'; the columns are question, answr"),
        ('{"question": "q", "answer": 0}\n{"question": "q", "answer": " "}\n', "row 2: the column 'answer' is empty"),
        ('{"question": "q", "answer": null}\n', "'answer' is empty"),
        ('{"question": "", "answer": 1}\n', "'question' is empty"),
    ],
)
def test_an_error_in_the_rows_names_the_file_and_the_line(tmp_path, text, message):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        DatasetTask(path=str(tmp_path / "x.jsonl")).problems("test")


def test_unknown_splits_groups_and_too_few_problems_are_refused(file, tmp_path):
    task = DatasetTask(path=file)
    with pytest.raises(ConfigurationError, match=r"the task sums has no split 'tset'; did you mean test\?"):
        task.problems("tset")
    with pytest.raises(ConfigurationError, match="the split 'test' of sums has 3 problems, 4 are needed"):
        task.problems("test", 4)
    path = write(tmp_path / "ids.jsonl", [{"question": q, "answer": 1, "id": 7} for q in "ab"])
    with pytest.raises(ConfigurationError, match="two rows have the id '7'"):
        DatasetTask(path=path, id="id").problems("test")


def test_a_file_is_read_once(file, monkeypatch):
    reads = []
    monkeypatch.setattr(dataset, "file_rows", lambda path, inner=dataset.file_rows: reads.append(path) or inner(path))
    task = DatasetTask(path=file)
    for seed in range(3):
        task.problems("test", 1, seed=seed)
    assert len(reads) == 1
