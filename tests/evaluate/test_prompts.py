import json

import pytest

from relay_core import ConfigurationError
from relay_core.evaluate.benchmarks import base
from relay_core.evaluate.prompts import read_prompts


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def contents(prompts):
    return {p.id: [(m["role"], m["content"]) for m in p.messages] for p in prompts.problems}


@pytest.mark.parametrize("column", ["question", "prompt", "problem"])
def test_a_column_with_the_prompt_is_found(tmp_path, column):
    prompts = read_prompts(write(tmp_path / "a.jsonl", {column: "1 + 1?", "answer": 2}), answers="answer")
    assert contents(prompts) == {"1": [("user", "1 + 1?")]} and prompts.problems[0].answer == 2


def test_a_column_can_be_named(tmp_path):
    file = write(tmp_path / "a.jsonl", {"question": "no", "ask": "yes?"})
    assert contents(read_prompts(file, question="ask")) == {"1": [("user", "yes?")]}
    with pytest.raises(ConfigurationError, match=r"row 1: there is no prompt \(other\); the columns are question, ask"):
        read_prompts(file, question="other")
    with pytest.raises(ConfigurationError, match="no answer in the column 'a'"):
        read_prompts(file, answers="a")


def test_of_a_chat_log_the_last_answer_is_left_out(tmp_path):
    log = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
    ]
    tool = {"type": "function", "function": {"name": "add"}}
    file = write(
        tmp_path / "log.jsonl",
        {"messages": log, "tools": [tool]},
        {"custom_id": "x", "method": "POST", "body": {"model": "m", "messages": log[1:2]}},
        {"request": {"messages": log[:2]}, "response": {"choices": []}},
    )
    prompts = read_prompts(file)
    assert contents(prompts) == {
        "1": [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "1 + 1?")],
        "2": [("user", "Hi")],
        "3": [("system", "Be brief."), ("user", "Hi")],
    }
    assert {p.id: p.tools for p in prompts.problems} == {"1": (tool,), "2": (), "3": ()}


def test_an_image_is_left_out_and_said(tmp_path):
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    file = tmp_path / "log.jsonl"
    prompts = read_prompts(write(file, {"messages": [image]}, {"question": "Hi"}))
    assert [p.id for p in prompts.problems] == ["2"]
    assert len(prompts.unusable) == 1 and "row 1" in prompts.unusable[0] and "images" in prompts.unusable[0]
    with pytest.raises(ConfigurationError, match="row 1: message 0 has content"):
        read_prompts(write(file, {"messages": [image]}))
    with pytest.raises(ConfigurationError, match="all the assistant's"):
        read_prompts(write(file, {"messages": [{"role": "assistant", "content": "Hi"}]}))


def test_lines_of_text(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("One?\n\n Two? \n")
    assert contents(read_prompts(str(file))) == {"1": [("user", "One?")], "2": [("user", "Two?")]}
    with pytest.raises(ConfigurationError, match="there is no file"):
        read_prompts(str(tmp_path / "b.txt"))


def test_a_smaller_sample_is_the_beginning_of_a_larger_one(tmp_path):
    file = write(tmp_path / "a.jsonl", *({"question": f"{i}?"} for i in range(30)))
    large, small = read_prompts(file, sample=20), read_prompts(file, sample=5)
    assert list(large.problems[:5]) == small.problems and len(large.problems) == 20
    assert len(read_prompts(file, sample=1000).problems) == 30
    assert read_prompts(file, sample=5, seed=1).problems != small.problems


def test_a_task_of_which_two_problems_have_one_id():
    prompts = read_prompts("bundled", sample=40)
    assert prompts.task is not None and prompts.task.name == "bundled" and len(prompts.problems) == 40
    assert len({p.id for p in prompts.problems}) == 40


TWICE = [{"role": "user", "content": "a"}]


class Repeating:
    name, groups = "repeating", ()

    def problems(self, split, n=None, *, seed=0, mix=None):
        from relay_core.evaluate.task import Problem

        return [Problem(id="same", messages=tuple(TWICE), answer=1)] * 3

    def grade(self, text, problem):
        return True


def test_equal_ids_are_numbered():
    assert [p.id for p in read_prompts(f"{__name__}:Repeating").problems] == ["same", "same#2", "same#3"]


def test_a_benchmark_with_fewer_problems_gives_all_of_them(monkeypatch):
    rows = [{"id": i, "problem": f"{i} + 1?", "answer": str(i + 1)} for i in range(3)]
    monkeypatch.setattr(base, "hub_rows", lambda path, config, split: rows)
    prompts = read_prompts("aime-2024", sample=100)
    assert prompts.task is not None and prompts.task.name == "aime-2024" and len(prompts.problems) == 3
