import json
from contextlib import contextmanager

import pytest

from relay_core import ConfigurationError, Hidden, Prices, RelaySettings
from relay_core.evaluate.agreement import scorer_for
from relay_core.evaluate.answers import Answers
from relay_core.evaluate.calibrate import is_near
from relay_core.evaluate.prompts import Prompts
from relay_core.evaluate.searches import Bounds
from relay_core.evaluate.store import Journal
from relay_core.evaluate.tune import Tuner
from relay_core.evaluate.tune_report import TuneReport
from testing.doubtful import doubtful_student, sure_teacher
from testing.tasks import problem

PRICES = Prices(student_output=1.0, teacher_output=10.0)


def questions(n):
    return [problem(f"question {i}", None) for i in range(n)]


def tuner(problems, student=None, ns=(3, 6), head=None, **options):
    return Tuner(
        student=student or doubtful_student(), teacher=sure_teacher(), scorer=scorer_for(
            Prompts(problems), grader=None, has_answers=False
        ), prices=PRICES, settings=RelaySettings(max_calls=None, on_teacher_error="raise"),
        search=Bounds(ns, head=head), **{"answers": Answers(), **options},
    )  # fmt: skip


@pytest.mark.parametrize(("target", "surer"), [(0.05, 1.0), (0.05, 0.3), (0.15, 2.0)])
async def test_the_call_ratio_is_within_a_fifth_on_held_out_prompts(target, surer):
    problems = questions(40)
    tuned = await tuner(problems, doubtful_student(surer_after_call=surer), target=target).tune(problems)
    assert is_near(tuned.figures.call_ratio, target), (tuned.chosen, tuned.figures.call_ratio)
    assert tuned.figures.prompts == 20 and tuned.settings[0][0] == tuned.chosen
    if surer != 1.0:  # what the student's own tokens foretell is not what the relay does
        first = [tried[-1] for tried in tuned.rounds]
        assert any(not is_near(r.foretold, r.measured, 0.1) for r in first)


async def test_the_bound_of_a_head_is_chosen_in_the_same_way():
    """The scripted student's head says 1 - p where its likeliest token has p, so both triggers call alike."""
    problems = questions(40)
    by_head, bare = [await tuner(problems, head=head, target=0.1).tune(problems) for head in ("folder", None)]
    assert isinstance(by_head.chosen, Hidden) and by_head.chosen.head == "folder"
    assert by_head.chosen.above == pytest.approx(1 - bare.chosen.below) and by_head.chosen.n == bare.chosen.n
    assert is_near(by_head.figures.call_ratio, 0.1)
    report = TuneReport(by_head, 0.1, tuner(problems).scorer)
    assert report.verdict().startswith("hidden:folder,0.") and f">{by_head.chosen}<" in report.picture()


async def test_neighbours_cost_less_and_more_and_the_score_rises_with_the_share():
    problems = questions(30)
    tuned = await tuner(problems, target=0.1).tune(problems)
    by_trigger = dict(tuned.settings)
    same_n = sorted((f.call_ratio, f.score, f.cost) for t, f in by_trigger.items() if t.n == tuned.chosen.n)
    assert len(same_n) == 3 and same_n == sorted(same_n, key=lambda f: f[1]) == sorted(same_n, key=lambda f: f[2])
    assert {t.n for t in by_trigger} == {3, 6}
    assert tuned.teacher.score == 1.0 and tuned.student.score < tuned.figures.score < 1.0
    report = TuneReport(tuned, 0.1, tuner(problems).scorer)
    assert report.reaches_target and tuned.student.score < report.by_router < tuned.figures.score
    value = json.loads(json.dumps(report.as_dict()))
    assert value["trigger"] == str(tuned.chosen) and next(iter(value["methods"])) == "student"
    assert value["methods"][value["trigger"]]["call_ratio"] == value["call_ratio"]
    lines = report.text().splitlines()
    assert len({len(line) for line in lines[1:-1]}) == 1 and max(map(len, lines[1:-1])) <= 90
    assert lines[-1].startswith(f"{tuned.chosen}: the teacher writes") and "within 20% of the target" in lines[-1]
    assert all(str(t) in report.picture() for t in by_trigger)


async def test_a_second_run_asks_nothing_again(tmp_path):
    problems = questions(12)
    await tuner(problems, target=0.15, answers=Answers(Journal(tmp_path / "a.jsonl"))).tune(problems)
    before = (tmp_path / "a.jsonl").read_text()
    silent = doubtful_student()
    silent.script = [[RuntimeError("asked again")]]
    again = await tuner(problems, silent, target=0.15, answers=Answers(Journal(tmp_path / "a.jsonl"))).tune(problems)
    assert (tmp_path / "a.jsonl").read_text() == before and again.figures.prompts == 6


async def test_progress_counts_every_answer():
    stages = []

    @contextmanager
    def stage(label, total):
        counted = [label, total, 0]
        stages.append(counted)

        def advance():
            counted[2] += 1

        yield advance

    problems = questions(12)
    await tuner(problems, target=0.15, stage=stage).tune(problems)
    assert [s[:2] for s in stages[:2]] == [["student alone", 12], ["teacher alone", 12]]
    assert all(total == count for _, total, count in stages) and len(stages) >= 6


async def test_what_cannot_be_tuned_is_said():
    with pytest.raises(ConfigurationError, match="3 prompts, of which 3 are different, are too few"):
        await tuner(questions(3)).tune(questions(3))
    same = [problem("question 1", None)] * 8
    with pytest.raises(ConfigurationError, match="8 prompts, of which 1 are different, are too few"):
        await tuner(same).tune(same)
    with pytest.raises(ConfigurationError, match=r"within 20% of the call ratio 0\.1%; .*uncertain:"):
        await tuner(questions(8), target=0.001, ns=(30,)).tune(questions(8))


async def test_the_bundled_pair_reaches_the_target_and_gains_by_it():
    from relay_core import engine_from_spec
    from relay_core.evaluate.prompts import read_prompts

    prompts = read_prompts("bundled", sample=50)
    student, teacher = (engine_from_spec(f"bundled:{name}") for name in ("student-base", "teacher"))
    try:
        tuned = await Tuner(
            student=student, teacher=teacher, scorer=scorer_for(prompts, grader=None, has_answers=False),
            prices=PRICES, settings=RelaySettings(max_calls=None, on_teacher_error="raise"), answers=Answers(),
            target=0.1, search=Bounds((8,)), concurrency=64,
        ).tune(prompts.problems)  # fmt: skip
    finally:
        await student.aclose()
        await teacher.aclose()
    assert is_near(tuned.figures.call_ratio, 0.1) and tuned.figures.prompts == 25
    assert tuned.student.score + 0.2 < tuned.figures.score  # measured: 32% alone, 80% with 9.8% of the tokens
