import json

from relay_core import RelaySettings, ScriptedEngine
from relay_core.train.blocked import measured, read
from testing.tasks import FixedTask, problem


def test_the_cost_of_warm_up_is_measured_once_with_calls_blocked(qwen3, tmp_path, capsys):
    problems = [problem(f"{i}", str(i), "easy" if i % 2 else "hard") for i in range(4)]
    task = FixedTask(problems, grader=lambda text, answer: text == answer)
    built = []

    def student(right):
        def script(prompt):
            question = prompt.messages[-1]["content"]
            return question if question in right else "<call>3</call>"

        built.append(ScriptedEngine(script, qwen3, record=True))
        return built[-1]

    file, settings = tmp_path / "warmup" / "blocked.json", RelaySettings(max_tokens=20, temperature=1.0)
    assert read(file) == {}
    measured(file, "before", lambda: student({"0", "1", "3"}), task, problems, settings)
    assert "cost" not in read(file)
    measured(file, "after", lambda: student({"1"}), task, problems, settings)
    for when in ("before", "after"):  # they are known
        measured(file, when, lambda: 1 / 0, task, problems, settings)
    values = json.loads(file.read_text())
    assert (values["before"]["accuracy"], values["after"]["accuracy"], values["cost"]) == (0.75, 0.25, 0.5)
    assert values["after"]["bands"] == {"easy": 0.5, "hard": 0.0} and values["problems"] == 4
    assert {s.temperature for engine in built for _, s in engine.requests} == {0.0}
    said = capsys.readouterr().err
    assert "25.0% of 4 problems right (75.0% before warm-up), in 6 tokens on average (4)" in said


def test_without_problems_nothing_is_measured(tmp_path):
    measured(tmp_path / "blocked.json", "before", lambda: 1 / 0, FixedTask(), [], RelaySettings())
    assert read(tmp_path / "blocked.json") == {}
