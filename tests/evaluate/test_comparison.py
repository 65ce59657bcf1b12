import pytest

from relay_core import Prices, RelaySettings, ScriptedEngine
from relay_core.evaluate.comparison import Comparison, compare, three_methods
from testing.tasks import FixedTask, problem

PROBLEMS = [problem("easy", 5, "easy"), problem("medium", 282, "medium"), problem("hard", 7, "hard")]
TASK = FixedTask(PROBLEMS)


def base(prompt):
    return "\\boxed{5}"


def student(prompt):
    if prompt.messages[-1]["content"] == "medium":
        return "\\boxed{<call>3</call>" if "282" not in prompt.continuation else "}"
    return "\\boxed{5}"


def teacher(prompt):
    if prompt.continuation:
        return "282"
    return {"easy": "\\boxed{5}", "medium": "\\boxed{282}", "hard": "no"}[prompt.messages[-1]["content"]]


async def compared(qwen3, teacher=teacher, **settings) -> Comparison:
    methods = three_methods(
        base=ScriptedEngine(base, qwen3), student=ScriptedEngine(student, qwen3),
        teacher=ScriptedEngine(teacher, qwen3), settings=RelaySettings(on_teacher_stop="continue", **settings),
    )  # fmt: skip
    answers: dict[str, list] = {name: [] for name in methods}
    comparison = await compare(TASK, PROBLEMS, methods, on_answer=lambda name: answers[name].append)
    assert {name: len(a) for name, a in answers.items()} == {"student": 3, "relay": 3, "teacher": 3}
    return comparison


async def test_three_methods_and_the_gap(qwen3):
    c = await compared(qwen3)
    assert [m.accuracy for m in c.methods.values()] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert c.recovered == pytest.approx(1.0)
    assert c.methods["teacher"].call_ratio == 1.0 and c.methods["student"].calls == 0
    assert c.as_dict().keys() == {"problems", "seconds", "methods"} and c.problems == 3
    assert c.as_dict()["methods"]["relay"]["bands"] == {"easy": 1.0, "medium": 1.0, "hard": 0.0}


async def test_whoever_answers_alone_is_not_told_to_call():
    settings = RelaySettings(student_instructions="Write <call>3</call>.", temperature=0.5, teacher_temperature=0.25)
    student, teacher = (ScriptedEngine("yes", None, record=True) for _ in range(2))
    methods = three_methods(base=student, student=student, teacher=teacher, settings=settings)
    for method in methods.values():
        await method.relay.agenerate("?")
    told = [[m["role"] for m in prompt.messages] for prompt, _ in [*student.requests, *teacher.requests]]
    assert told == [["user"], ["system", "user"], ["user"]]  # student alone, relay, teacher alone
    assert [sampling.temperature for _, sampling in [*student.requests, *teacher.requests]] == [0.5, 0.5, 0.25]


async def test_the_table(qwen3):
    c = await compared(qwen3)
    assert c.headings == ["", "all", "easy", "medium", "hard", "call\nratio", "calls/\nanswer", "tokens\n/s"]
    student, relay, teacher = c.rows()
    assert student[:7] == ["student alone", "33.3%", "100.0%", "0.0%", "0.0%", "0.0%", "0.00"]
    assert relay[:5] == ["relay", "66.7%", "100.0%", "100.0%", "0.0%"] and relay[6] == "0.33"
    assert teacher[0] == "teacher alone" and teacher[5:7] == ["100.0%", "-"]
    lines = c.text().splitlines()
    assert len({len(line) for line in lines[:4]}) == 1 and "call ratio  calls/answer  tokens/s" in lines[0]
    assert lines[4].startswith("The relay recovers 100% of the gap") and "0% of the easy problems" in lines[4]


async def test_costs_are_of_1000_answers(qwen3):
    c = await compared(qwen3, prices=Prices(student_output=3e6))
    assert c.headings[-1] == "cost"
    assert float(c.rows()[0][-1]) == pytest.approx(1000 * c.methods["student"].usage.student_tokens)


async def test_without_a_gap_recovered_is_none(qwen3):
    c = await compared(qwen3, teacher="no")
    assert c.recovered is None and "recovers" not in c.verdict() and c.verdict().startswith("All of it took")
