"""Reports, from records whose figures are known."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from relay_core import Prices
from relay_core.evaluate.methods import methods_from
from relay_core.evaluate.records import Status
from relay_core.evaluate.report import summarize, write_report
from relay_core.evaluate.report.figures import cost, cost_cached, cost_written
from relay_core.evaluate.report.tables import tables
from relay_core.evaluate.report.verdicts import verdict
from relay_core.evaluate.run import Evaluation
from relay_core.usage import Usage
from testing.answer_records import record
from testing.evaluations import FixedBenchmark, models

PRICES = Prices(
    student_input=1, student_output=10, teacher_input=100, teacher_output=1000,
    student_cached_input=0.1, teacher_cached_input=10,
)  # fmt: skip


def three(n=100):
    """The student is right on 40 of 100, the teacher on 90, the relay on 85 with 2 of 100 tokens."""
    teacher = {"student_tokens": 0, "teacher_tokens": 100, "teacher_prompt_tokens": 20, "student_prompt_tokens": 0}
    relay = {"student_tokens": 98, "teacher_tokens": 2, "teacher_prompt_tokens": 60, "calls": 1}
    return [
        *(record("student", i, i % 10 < 4) for i in range(n)),
        *(record("teacher", i, i % 10 < 9, **teacher) for i in range(n)),
        *(record("relay", i, i % 20 < 17, **relay) for i in range(n)),
    ]


def test_accuracy_gap_and_router():
    (summary,) = summarize(three(), PRICES)
    student, teacher, relay = (summary.method(name) for name in ("student", "teacher", "relay"))
    assert (student.accuracy.value, teacher.accuracy.value, relay.accuracy.value) == (0.4, 0.9, 0.85)
    assert relay.call_ratio.value == 0.02 and teacher.call_ratio.value == 1 and relay.calls == 1
    assert student.accuracy.low < 0.4 < student.accuracy.high and student.accuracy.low == pytest.approx(0.305, abs=0.03)
    (against,) = summary.router
    assert against.recovered.value == pytest.approx(0.9)
    assert against.share.value == pytest.approx(0.9)  # the router sends 90% of the prompts: 90 teacher tokens a prompt
    assert against.saved.value == pytest.approx(1 - 2 / 90)
    assert against.gain.value == pytest.approx(0.85 - (0.4 + 0.02 * 0.5))
    dear, cheap, own = (m.cost.value for m in (teacher, student, relay))
    assert against.gain_at_cost.value == pytest.approx(0.85 - (0.4 + (own - cheap) / (dear - cheap) * 0.5))


def test_a_method_with_another_base_student_has_another_gap_and_other_prices():
    spec = "told,base=./larger,label=told with a larger student"
    usage = {"teacher_tokens": 1, "calls": 1}
    (summary,) = summarize([*three(), *(record(spec, i, i % 10 < 7, **usage) for i in range(100))], PRICES)
    assert [against.method for against in summary.router] == ["relay"]
    notes = {table.title: table.note for table in tables(summary, PRICES)}
    assert f"{spec}: with the prices of the run's student" in notes["Cost"]
    assert "the prices of the run's student" not in tables(summarize(three(), PRICES)[0], PRICES)[1].note
    trained = "relay,student=./trained,label=trained"
    (summary,) = summarize([*three(), *(record(trained, i, True, **usage) for i in range(100))], PRICES)
    assert [against.method for against in summary.router] == ["relay", trained]


def test_differences_are_paired():
    (summary,) = summarize(three(), PRICES)
    against = {d.method: d for d in summary.differences}
    assert against["student"].accuracy.value == pytest.approx(0.45)
    assert against["student"].call_ratio.value == pytest.approx(0.02)
    # the relay is right wherever the student is, so the paired interval is narrower than that of two samples
    alone = summary.method("student").accuracy
    assert against["student"].accuracy.high - against["student"].accuracy.low < 1.3 * (alone.high - alone.low)


def test_a_method_that_answered_a_part_is_compared_on_that_part():
    whole = three()
    part = [r for r in whole if int(r.problem) >= 70 or r.method != "relay"]
    only = [r for r in whole if int(r.problem) >= 70]
    (summary,), (alone,) = summarize(part, PRICES), summarize(only, PRICES)
    assert summary.problems == 100 and summary.method("student").answers == 100
    for mine, theirs in (
        (summary.method("relay"), alone.method("relay")), (summary.router[0], alone.router[0]),
        *zip(summary.differences, alone.differences, strict=True),
    ):  # fmt: skip
        for name in ("accuracy", "call_ratio", "cost", "recovered", "share", "saved", "gain", "gain_at_cost"):
            a, b = getattr(mine, name, None), getattr(theirs, name, None)
            assert a == b is None or a.value == pytest.approx(b.value)
            if a is not None and name not in ("call_ratio", "cost", "saved"):  # other draws, of the same problems
                assert a.high - a.low == pytest.approx(b.high - b.low, rel=0.25)


def test_a_label_changes_no_conclusion():
    named = {"student": "student,label=small", "teacher": "teacher,label=large", "relay": "relay,label=mine,limit=100"}
    rows = [replace(row, method=named[row.method], label=named[row.method]) for row in three()]
    (plain,), (labelled,) = summarize(three(), PRICES), summarize(rows, PRICES)
    assert verdict(labelled) == verdict(plain) and "recovers" in verdict(plain)
    assert [d.accuracy for d in labelled.differences] == [d.accuracy for d in plain.differences] != []
    assert [a.saved for a in labelled.router] == [a.saved for a in plain.router] != []
    assert labelled.method("relay").label == "relay,label=mine,limit=100"


def test_a_relay_above_its_teacher_is_above_every_router():
    better = [replace(row, status=Status.RIGHT) if row.method == "relay" else row for row in three()]
    (summary,) = summarize(better, PRICES)
    assert "No random router is as accurate" in verdict(summary) and "98.0% (" in verdict(summary)
    assert "No random router" not in verdict(summarize(three(), PRICES)[0])
    (few,) = summarize([row for row in three() if row.method == "student" and row.problem == "1"], PRICES)
    assert verdict(few) == "1 problem; 1 method."


def test_what_has_no_answer_is_counted_apart():
    rows = [
        record("student", 0, True), record("student", 1, False), record("student", 2, False, status=Status.TRUNCATED),
        record("student", 3, False, status=Status.UNANSWERED), record("student", 4, False, status=Status.UNGRADED),
    ]  # fmt: skip
    (summary,) = summarize(rows, PRICES)
    student = summary.method("student")
    assert student.accuracy.value == 0.25 and student.answers == 4  # the ungraded one is in no accuracy
    assert (student.truncated, student.unanswered, student.ungraded) == (0.2, 0.2, 1)


def test_several_answers_to_a_problem_are_one_observation():
    rows = [record("student", i, (i + k) % 2, sample=k) for i in range(50) for k in range(32)]
    (summary,) = summarize(rows, PRICES)
    assert (summary.problems, summary.samples) == (50, 32)
    accuracy = summary.method("student").accuracy
    assert accuracy.value == 0.5 and accuracy.interval == (0.5, 0.5)  # every problem has the same mean


def test_the_bill_by_hand():
    usage = Usage(
        prompt_tokens=10, student_tokens=50, command_tokens=6, teacher_tokens=4, student_prompt_tokens=10 + 40,
        teacher_prompt_tokens=2 * 12 + 30, discarded_tokens=3, wasted_prompt_tokens=12, wasted_tokens=1,
        student_cached_tokens=7, teacher_cached_tokens=9, calls=2,
    )  # fmt: skip
    written = (50 + 6 + 3) * 10 + (4 + 1) * 1000
    assert cost_written(usage, PRICES) == pytest.approx(written / 1e6)
    assert cost(usage, PRICES) == pytest.approx((written + 50 * 1 + (54 + 12) * 100) / 1e6)
    short = replace(usage, student_prompt_tokens=10 + 60 + 5, teacher_prompt_tokens=12 + 60 + 8, wasted_prompt_tokens=0)
    read = 70 * 1 + 5 * 0.1 + 72 * 100 + 8 * 10
    assert cost_cached(short, PRICES, 12) == pytest.approx((written + read) / 1e6)


def test_a_method_that_is_no_better_than_the_student_saves_nothing():
    rows = [r if r.method != "relay" else replace(r, status=Status.WRONG) for r in three()]
    (summary,) = summarize(rows, PRICES)
    assert "-" in {row[3] for row in next(t for t in tables(summary, PRICES) if "router" in t.title).rows}
    assert "saves" not in verdict(summary)


async def test_problems_that_are_answered_alike_are_one_observation():
    fixed = [
        replace(problem, id=f"{problem.id}/{wording}", cluster=problem.id if clustered else "")
        for clustered in (True, False)
        for problem in FixedBenchmark().fixed
        for wording in range(5)
    ]
    half = len(fixed) // 2
    summaries = []
    for name, problems in (("alike", fixed[:half]), ("apart", fixed[half:])):
        benchmark = FixedBenchmark(name=name, fixed=tuple(problems))
        made = methods_from(["student relay"], models())
        records, _ = await Evaluation(benchmarks=[benchmark], methods=made, settings={}).run(None)
        summaries += summarize(records, PRICES)
    alike, apart = summaries
    assert (alike.problems, alike.clusters, apart.clusters) == (half, half // 5, half)
    wide, narrow = (summary.method("student").accuracy for summary in summaries)
    assert wide.value == narrow.value and wide.high - wide.low > 1.5 * (narrow.high - narrow.low) > 0
    assert f"{half // 5} clusters of problems" in tables(alike, PRICES)[0].note
    assert "over problems." in tables(apart, PRICES)[0].note
    assert (alike.as_dict()["clusters"], apart.as_dict()["clusters"]) == (half // 5, half)


async def every_record():
    methods = "student relay teacher fixed:9 random-router:0.5 uncertain:0.5,9 uncertain:0.1,9 told"
    the_models = models()
    records, _ = await Evaluation(
        benchmarks=[FixedBenchmark(), FixedBenchmark(name="other", title="<Other>")],
        methods=methods_from([methods], the_models),
        settings={},
    ).run(None)
    return records


async def test_the_cost_in_the_report_is_that_of_the_records_for_every_method():
    records = await every_record()
    for summary in summarize(records, PRICES):
        for figures in summary.methods:
            rows = [r for r in records if (r.benchmark, r.method) == (summary.name, figures.method)]
            u = [r.outcome.usage for r in rows]
            bill = sum(
                x.student_prompt_tokens * 1 + x.teacher_prompt_tokens * 100 + x.wasted_prompt_tokens * 100
                + (x.student_tokens + x.command_tokens + x.discarded_tokens) * 10
                + (x.teacher_tokens + x.wasted_tokens) * 1000
                for x in u
            ) / 1e6  # fmt: skip
            assert len(rows) * figures.cost.value == pytest.approx(bill, rel=1e-12)
            assert figures.teacher_tokens * len(rows) == sum(x.teacher_tokens for x in u)
            assert figures.read * len(rows) == sum(x.teacher_prompt_tokens for x in u)


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


async def test_a_report_is_one_file_and_its_pictures_exist(tmp_path):
    write_report(
        tmp_path, summarize(await every_record(), PRICES, titles={"other": "<Other>"}), PRICES, title="A <b> & c"
    )
    html, markdown = ((tmp_path / f"report.{end}").read_text() for end in ("html", "md"))
    parser = Links()
    parser.feed(html)
    assert parser.links and all(link.startswith("data:image/png;base64,") for link in parser.links)
    assert "script" not in parser.tags and "link" not in parser.tags
    assert "A &lt;b&gt; &amp; c" in html and "&lt;Other&gt;" in html and "<Other>" not in html
    pictures = re.findall(r"<img [^>]*src=\"([^\"]*)\"", markdown)
    assert len(pictures) == 11 and all((tmp_path / name).stat().st_size > 5000 for name in pictures)
    value = json.loads((tmp_path / "report.json").read_text())
    assert [b["benchmark"] for b in value["benchmarks"]] == ["fixed", "other"]
    assert "NaN" not in (tmp_path / "report.json").read_text()
