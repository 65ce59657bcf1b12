import json

import pytest

from relay_core import EngineError, GradingError, Prices, RelaySettings, Usage
from relay_core.errors import ContextOverflow
from relay_core.evaluate.agreement import scorer_for
from relay_core.evaluate.answers import Answers, KeptAnswer
from relay_core.evaluate.audit import Case, Purse, audit
from relay_core.evaluate.audit_report import AuditReport
from relay_core.evaluate.comparison import three_methods
from relay_core.evaluate.prompts import Prompts
from relay_core.evaluate.store import Journal
from testing.doubtful import doubtful_student, sure_teacher
from testing.tasks import problem

PRICES = Prices(student_output=1.0, teacher_output=100.0)
PROBLEMS = [problem(f"question {i}", None) for i in range(20)]
SCORER = scorer_for(Prompts(PROBLEMS), grader=None, has_answers=False)


def methods(student=None, trigger="uncertain:0.3,3", **settings):
    student = student or doubtful_student()
    chosen = RelaySettings(trigger=trigger, max_calls=None, on_teacher_error="raise", **settings)
    return three_methods(base=student, student=student, teacher=sure_teacher(), settings=chosen)


async def test_three_methods_and_whether_it_pays():
    cases = await audit(PROBLEMS, methods(), Answers(), Purse(None, PRICES))
    assert [case.problem for case in cases] == PROBLEMS
    report = AuditReport.of(cases, SCORER, PRICES)
    student, relay, teacher = report.methods.values()
    assert student.call_ratio == 0 and 0 < relay.call_ratio < 1 and teacher.call_ratio == 1 and teacher.score == 1
    assert student.score < relay.score < 1 and student.cost < relay.cost < teacher.cost
    value = json.loads(json.dumps(report.as_dict()))
    assert value["pays"] in ("yes", "no", "undecided") and value["verdict"] in report.text()
    table = report.text().splitlines()[1:5]
    assert len({len(line) for line in table}) == 1 and len(table[0]) <= 100


async def test_a_student_that_never_calls_is_said():
    report = AuditReport.of(
        await audit(PROBLEMS[:4], methods(trigger="commands"), Answers(), Purse(None, PRICES)), SCORER, PRICES
    )
    assert "does not pay: the student never called" in report.verdict() and "uncertain" in report.verdict()


def test_where_caching_decides_both_are_said():
    prices = Prices(teacher_input=1.0, teacher_cached_input=0.0, teacher_output=1.0)
    alone = {"prompt_tokens": 10, "student_prompt_tokens": 10}
    usages = {
        "student": ("no", Usage(**alone, student_tokens=50)),
        # four calls, each of which reads nearly all of the answer again
        "relay": ("ok", Usage(**alone, student_tokens=46, teacher_tokens=4, calls=4, teacher_prompt_tokens=200)),
        "teacher": ("ok", Usage(teacher_tokens=100, teacher_prompt_tokens=10)),
    }
    answers = {name: KeptAnswer(text, usage, 1.0, "stop") for name, (text, usage) in usages.items()}
    report = AuditReport.of([Case(problem, answers) for problem in PROBLEMS], SCORER, prices)
    costs = [report.methods["relay"].cost_cached, report.methods["teacher"].cost, report.methods["relay"].cost]
    assert costs == [pytest.approx(c / 1e6) for c in (10 + 50 + 4, 10 + 100, 200 + 4)]
    assert report.verdict().startswith("The relay pays: ")
    assert "Without caching: the relay does not pay: it costs 1.85 times as much as" in report.verdict()


async def test_the_limit_is_kept_and_a_later_run_goes_on(tmp_path):
    path = tmp_path / "answers.jsonl"
    full = Purse(None, PRICES)
    await audit(PROBLEMS, methods(), Answers(), full)
    limit = full.spent / 2
    answers = Answers(Journal(path))
    purse = Purse(limit, PRICES, answers.cost(PRICES))
    cases = await audit(PROBLEMS, methods(), answers, purse)
    assert purse.is_empty and 0 < purse.spent <= limit and 5 <= len(cases) < 20
    assert answers.cost(PRICES) == pytest.approx(purse.spent)
    kept = path.read_text()
    answers = Answers(Journal(path))
    purse = Purse(None, PRICES, answers.cost(PRICES))
    assert len(await audit(PROBLEMS, methods(), answers, purse)) == 20
    assert path.read_text().startswith(kept) and len(path.read_text().splitlines()) == 60
    assert purse.spent == pytest.approx(full.spent) and not purse.is_empty
    nothing = Purse(0.0, PRICES)
    assert await audit(PROBLEMS, methods(), Answers(), nothing) == [] and nothing.is_empty


async def test_a_failure_ends_the_run_and_keeps_the_answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    student = doubtful_student()
    play = student.script

    def failing(prompt):
        return [EngineError("gone")] if prompt.messages[-1]["content"] == "question 7" else play(prompt)

    student.script = failing
    with pytest.raises(EngineError, match="gone"):
        await audit(PROBLEMS, methods(student), Answers(Journal(path)), Purse(None, PRICES), concurrency=1)
    assert len(path.read_text().splitlines()) == 7 * 3


async def test_a_prompt_that_is_too_long_is_in_no_figure():
    student = doubtful_student()
    play = student.script

    def script(prompt):
        return [ContextOverflow("no room")] if prompt.messages[-1]["content"] == "question 2" else play(prompt)

    student.script = script
    cases = await audit(PROBLEMS[:5], methods(student), Answers(), Purse(None, PRICES))
    report = AuditReport.of(cases, SCORER, PRICES)
    assert len(cases) == 5 and report.too_long == 1 and {f.prompts for f in report.methods.values()} == {4}


def case_of(texts):
    usage = Usage(student_tokens=5, teacher_tokens=1, calls=1)
    answers = {name: KeptAnswer(text, usage, 1.0, "stop") for name, text in texts.items()}
    return Case(problem("q", "2"), answers)


def test_a_prompt_with_an_answer_that_cannot_be_graded_is_in_no_verdict():
    scorer = scorer_for(Prompts(PROBLEMS), grader="testing.graders:none_of_it", has_answers=True)
    fine = {"student": "1", "relay": "2", "teacher": "2"}
    report = AuditReport.of([case_of(fine), case_of({**fine, "relay": "?"})], scorer, PRICES)
    value = report.as_dict()
    assert value["ungraded"] == 1 and value["methods"]["relay"]["ungraded"] == 1
    assert [m.score for m in report.methods.values()] == [0.0, 1.0, 1.0]
    assert "not graded, and in no score: relay 1" in report.text()
    with pytest.raises(GradingError, match="of none of 1 prompts all answers could be graded"):
        AuditReport.of([case_of({**fine, "student": "?"})], scorer, PRICES)
