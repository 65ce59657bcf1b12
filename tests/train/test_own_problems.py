"""README's lines take somebody from a file of problems of their own to a trained student."""

import json
import random

from relay_core.train.__main__ import main

# README's lines, with fewer and smaller rollouts; the bundled models write numbers, so that some answers are right
SMALLER = [
    "--warmup.problems", "160", "--warmup.draws", "1", "--warmup.blocked_problems", "8",
    "--filter.problems", "24", "--filter.samples", "4", "--filter.keep", "0.25",
    "--grpo.rollouts", "2", "--grpo.prompts", "8", "--grpo.group_size", "4", "--measure.problems", "10",
]  # fmt: skip


def test_two_hundred_problems_of_another_subject_train_a_student(tmp_path, capsys):
    rng = random.Random(0)
    places = ["shelf", "roof", "boat", "tree", "cellar", "bridge", "tower", "barn"]
    rows = [
        {"question": f"Think of the {place} number {n}. Name {'an even' if even else 'an odd'} number.",
         "answer": "even" if even else "odd"}
        for n in range(25) for place in places for even in [rng.random() < 0.5]
    ]  # fmt: skip
    assert len(rows) == 200
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ["--task", str(problems), "--task.grader", "testing.graders:parity"]
    assert main(["all", *task, "--out", str(tmp_path / "mine"), *SMALLER, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == 10
    assert set(report["methods"]) == {"teacher", "student-base", "student-warm", "student-relay", "relay"}
    samples = [json.loads(line) for line in (tmp_path / "mine" / "warmup" / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 160 and {row["k"] for row in samples} == {0}
    from relay_core import Relay

    with Relay(str(tmp_path / "mine" / "student-relay"), "bundled:teacher") as relay:
        assert relay.generate("Name an even number.", max_tokens=60).text
