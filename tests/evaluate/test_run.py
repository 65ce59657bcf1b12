"""The runner: what is asked, kept, graded, and not asked again."""

import asyncio
import json
from dataclasses import replace

import pytest

from relay_core import EngineError, RelaySettings
from relay_core.bundled.task import BundledTask
from relay_core.errors import GradingError
from relay_core.evaluate import records as record_files
from relay_core.evaluate.benchmarks import benchmark_from_spec
from relay_core.evaluate.methods import Models, methods_from
from relay_core.evaluate.ray_data import Cluster
from relay_core.evaluate.records import Record, Status
from relay_core.evaluate.run import Evaluation
from testing.evaluations import PROBLEMS, FixedBenchmark, models
from testing.tasks import holds_boxed, problem

ALL = "student relay teacher teacher-free fixed:9 random-router:0.5 uncertain:0.5,9"


def evaluation(the_models, methods=ALL, benchmark=None, **options):
    benchmark = benchmark or FixedBenchmark()
    options = {"settings": {}, **options}
    return Evaluation(benchmarks=[benchmark], methods=methods_from([methods], the_models), **options)


async def test_records_are_in_the_order_of_methods_problems_and_samples(tmp_path):
    records, cells = await evaluation(models(), samples=2).run(tmp_path)
    assert [(r.method, r.problem, r.sample) for r in records] == [
        (method, p.id, k) for method in ALL.split() for p in PROBLEMS for k in range(2)
    ]
    assert len({r.seed for r in records}) == 2 * len(PROBLEMS)
    by_method = {m: [r for r in records if r.method == m] for m in ALL.split()}
    assert sum(r.is_right for r in by_method["student"]) == 8
    assert sum(r.is_right for r in by_method["relay"]) == 16
    assert {r.status for r in by_method["relay"] if r.group == "open"} == {Status.WRONG}
    assert {r.status for r in by_method["teacher-free"] if r.group == "hard"} == {Status.UNANSWERED}
    assert {cell.method for cell in cells} == {
        "student",
        "relay",
        "teacher",
        "teacher-free",
        "fixed:9",
        "uncertain:0.5,9",
    }


async def test_a_method_with_a_limit_answers_the_first_problems_only(tmp_path):
    few = "teacher,limit=3 random-router:1,limit=2"
    records, _ = await evaluation(models(), f"student {few}", samples=2).run(tmp_path)
    asked = {spec: [r.problem for r in records if r.method == spec] for spec in ("student", *few.split())}
    assert len(asked["student"]) == 2 * len(PROBLEMS)
    assert asked["teacher,limit=3"] == asked["student"][:6]
    assert asked["random-router:1,limit=2"] == asked["student"][:4]
    again = models()
    await evaluation(again, "teacher", samples=2).run(tmp_path)  # the teacher has answered everything, for the router
    assert not again.teacher.requests


async def test_the_records_are_the_same_from_a_file(tmp_path):
    records, _ = await evaluation(models()).run(None)
    record_files.write(tmp_path, records)
    assert record_files.read(tmp_path) == records


async def test_nothing_is_asked_twice(tmp_path):
    first, _ = await evaluation(models(), "student relay").run(tmp_path)
    again = models()
    records, cells = await evaluation(again, ALL).run(tmp_path)
    assert [r for r in records if r.method in ("student", "relay")] == first
    asked = {request.messages[-1]["content"] for request, _ in again.teacher.requests}
    assert asked and len(again.base.requests) < 40 and "student" not in {cell.method for cell in cells}
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len({line["key"] for line in lines}) == len(lines)


async def test_a_method_does_not_gain_by_what_another_left_in_the_cache():
    async def cached(*methods: str) -> list[int | None]:
        bundled = Models(student="bundled:student-relay", teacher="bundled:teacher", settings=RelaySettings())
        settings = {"max_tokens": 120, "temperature": 0.0}
        made = Evaluation(
            benchmarks=[benchmark_from_spec("bundled")],
            methods=methods_from(methods, bundled),
            limit=12,
            settings=settings,
            concurrency=1,
        )
        try:
            records, _ = await made.run(None)
        finally:
            await bundled.aclose()
        usages = [record.outcome.usage for record in records if record.method == "relay"]
        assert sum(usage.calls for usage in usages) > 3
        return [usage.teacher_cached_tokens for usage in usages]

    assert await cached("teacher", "relay") == await cached("relay")


@pytest.mark.parametrize("change", [{"max_tokens": 59}, {"teacher_temperature": 0.5}])
async def test_other_settings_are_asked_again(tmp_path, change):
    await evaluation(models(), "relay").run(tmp_path)
    other = models()
    other.settings = other.settings.merged(change)
    await evaluation(other, "relay").run(tmp_path)
    assert other.student.requests


async def test_an_answer_that_a_limit_cut_is_wrong_whatever_it_holds():
    records, _ = await evaluation(models(), "teacher", settings={"max_tokens": 18}).run(None)
    assert "\\boxed{0}" in records[0].outcome.text
    assert {r.status for r in records} == {Status.TRUNCATED} and not any(r.is_right for r in records)


async def test_a_grader_that_fails_is_counted_and_never_wrong():
    def grader(text, answer):
        if answer == 2:
            raise GradingError("the grader hung")
        return f"\\boxed{{{answer}}}" in text

    records, _ = await evaluation(models(), "student", FixedBenchmark(grader=grader)).run(None)
    assert [r.problem for r in records if r.status is Status.UNGRADED] == ["easy 2", "hard 2"]


async def test_a_prompt_that_is_too_long_is_unanswered():
    the_models = models("bundled")
    the_models.base._context_length = 40
    fixed = (problem("easy 1", 1), problem("easy 1" + " and" * 100, 1))
    records, _ = await evaluation(the_models, "student", FixedBenchmark(fixed=fixed)).run(None)
    assert [r.status for r in records] == [Status.RIGHT, Status.UNANSWERED]
    assert records[1].outcome.finish_reason == "too_long"


async def test_an_engine_that_fails_loses_nothing(tmp_path):
    the_models = models(on_teacher_error="raise")
    script = the_models.teacher.script
    the_models.teacher.script = lambda prompt: (
        [EngineError("down", role="teacher")] if "hard 3" in prompt.messages[-1]["content"] else script(prompt)
    )
    with pytest.raises(EngineError):
        await evaluation(the_models, "student relay", concurrency=1).run(tmp_path)
    kept = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert len(kept) == 9 + 7
    records, _ = await evaluation(models(on_teacher_error="raise"), "student relay").run(tmp_path)
    assert len(records) == 18 and len((tmp_path / "answers.jsonl").read_text().splitlines()) == 18


async def test_sources_that_were_not_asked_for_are_answered_and_not_reported():
    records, _ = await evaluation(models(), "random-router:0.5").run(None)
    assert {r.method for r in records} == {"random-router:0.5"}
    assert {r.outcome.chose for r in records} == {"student", "teacher"}


@pytest.mark.parametrize("method", ["random-router:0", "cascade:min,-1e9"])
async def test_a_method_with_models_of_its_own_takes_no_answers_of_the_runs_models(method):
    other = ",base=bundled:student-base"
    bundled = Models(student="bundled:student-relay", teacher="bundled:teacher", settings=RelaySettings())
    made = Evaluation(
        benchmarks=[benchmark_from_spec("bundled")],
        methods=methods_from(["student", method + other, "student" + other], bundled),
        limit=4,
        settings={"max_tokens": 250, "temperature": 0.0},
    )
    try:
        records, _ = await made.run(None)
    finally:
        await bundled.aclose()
    texts = {spec: [r.outcome.text for r in records if r.method == spec] for spec in {r.method for r in records}}
    assert texts[method + other] == texts["student" + other] != texts["student"]


async def test_a_limit_draws_the_first_problems_and_a_record_needs_its_columns(tmp_path):
    records, _ = await evaluation(models(), "student", limit=3).run(None)
    assert len(records) == 3
    row = records[0].as_row()
    assert Record.of_row(row) == records[0]
    with pytest.raises(KeyError):
        Record.of_row({name: value for name, value in row.items() if name != "seed"})
    assert replace(records[0], status=Status.WRONG).is_right is False
    await asyncio.sleep(0)


@pytest.mark.timeout(300)
async def test_over_ray_the_records_are_the_same(ray_here, tmp_path):
    """Each actor has its own models, and finds the same answers."""
    specs = {"student": "bundled:student-relay", "teacher": "bundled:teacher", "base": "bundled:student-base"}
    benchmark = FixedBenchmark(fixed=tuple(BundledTask().problems("test", 6)), grader=holds_boxed)
    both = []
    for cluster in (Cluster(actors=1), None):
        the_models = Models(**specs, settings=RelaySettings(max_tokens=120))
        run = evaluation(the_models, "student relay cascade:min,-0.5 teacher", benchmark, cluster=cluster)
        records, _ = await run.run(tmp_path / str(cluster is None))
        both.append([{**r.as_row(), "seconds": 0, "calls": len(r.outcome.calls), "usage": 0} for r in records])
        await the_models.aclose()

    logprobs = ("mean_logprob", "min_logprob")  # their last digits depend on the answers that ran at the same time
    here, there = ([{k: v for k, v in row.items() if k not in logprobs} for row in rows] for rows in both)
    assert here == there
    for name in logprobs:
        assert [row[name] for row in both[0]] == pytest.approx([row[name] for row in both[1]], abs=1e-3)
