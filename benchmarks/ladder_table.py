"""The figures of ladder.py, and its two tables: of the methods, and of what routers give in their place.

They are those of `relay eval`, with a router for each of two students, and over the answers of several seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay_core.evaluate.prices import EXAMPLE_PRICES
from relay_core.evaluate.records import Record
from relay_core.evaluate.report.comparisons import against_router, difference
from relay_core.evaluate.report.figures import Answers, clusters_of
from relay_core.evaluate.report.resampling import Estimate, Resampling, ratio

#: Labels of the models between which a router chooses. The table has a router for each of these students.
STUDENTS = ("student alone", "distilled")
TEACHER = "teacher alone"


def figures(answered: Mapping[str, Sequence[Record]], *, reference: str) -> dict[str, dict[str, Any]]:
    """The figures of each method, by label; those with an interval as ``[value, low, high]``.

    Args:
        answered: the answers of all methods to the same problems, by label; several to a problem if there are several
            seeds.
        reference: the method whose accuracy is subtracted in ``ahead``.

    ``alike`` is the accuracy if every calculation has the same weight, however many problems share it.
    ``called_ahead`` is what ``ahead`` is, for the share of easy problems with a call. ``recovered`` is the share of
    the gap between the first of :data:`STUDENTS` and the teacher. ``gains`` has the accuracy less that of a router with
    as many of the teacher's tokens, for each of :data:`STUDENTS`, and ``gains_at_bill`` less that of a router with the
    same bill. These are None where a model was not measured.
    """
    problems = clusters_of(record for rows in answered.values() for record in rows)
    answers = {label: Answers(rows, EXAMPLE_PRICES, {}, problems) for label, rows in answered.items()}
    resampling = Resampling([*problems.values()])
    return {label: _figures(label, answers, resampling, reference) for label in answers}


def _figures(label: str, answers: Mapping[str, Answers], resampling: Resampling, reference: str) -> dict[str, Any]:
    found, other, teacher = answers[label], answers.get(reference), answers.get(TEACHER)
    own = found.figures(resampling, None)
    called, others_called = _called_easy(found), None if other is None or other is found else _called_easy(other)
    routers = [
        None if student is None or teacher is None or found in (student, teacher)
        else against_router(found, student, teacher, resampling)
        for student in map(answers.get, STUDENTS)
    ]  # fmt: skip
    nothing = (0.0, 0.0)
    return {
        "accuracy": _plain(own.accuracy),
        "call_ratio": _plain(own.call_ratio),
        "called_easy": _plain(resampling.estimate(called, ratio)),
        "alike": _alike(found),
        "ahead": None if others_called is None else _plain(difference(found, answers[reference], resampling).accuracy),
        "called_ahead": None if others_called is None else _plain(
            resampling.estimate([*called, *others_called], lambda a, b, c, d: ratio(a, b) - ratio(c, d))
        ),
        "calls": own.calls,
        "called_hard": own.groups.get("hard", nothing)[1],
        "right_easy": own.groups.get("easy", nothing)[0],
        "right_hard": own.groups.get("hard", nothing)[0],
        "recovered": None if routers[0] is None else _plain(routers[0].recovered),
        "gains": [None if router is None else _plain(router.gain) for router in routers],
        "bill": own.cost.value,
        "gains_at_bill": [None if router is None else _plain(router.gain_at_cost) for router in routers],
    }  # fmt: skip


def _called_easy(answers: Answers) -> list[list[float]]:
    """For each problem, its answers with a call, and its answers; 0 if it is not easy."""
    counts = {problem: [0.0, 0.0] for problem in answers.problems}
    for record in answers.records:
        if record.group == "easy":
            counts[record.problem][0] += record.outcome.usage.calls > 0
            counts[record.problem][1] += 1
    return [list(column) for column in zip(*counts.values(), strict=True)]


def _alike(answers: Answers) -> float:
    """The mean of the clusters' accuracies."""
    right: dict[str, list[bool]] = {}
    for record in answers.records:
        right.setdefault(record.cluster, []).append(record.is_right)
    return sum(sum(row) / len(row) for row in right.values()) / len(right)


def _plain(estimate: Estimate) -> list[float]:
    return [estimate.value, *estimate.interval]


def table(rows: Sequence[Mapping[str, Any]], reference: str) -> Iterator[str]:
    """The methods as a Markdown table."""
    yield from _markdown(
        *("", "accuracy %", "each calculation alike", f"less {reference}", "call ratio %", "calls", "calls on easy %"),
        *(
            f"calls on easy less {reference}",
            "on hard %",
            "accuracy on easy, hard %",
            "tokens/s",
            "training: hours",
            "teacher tokens",
        ),
        rows=[_cells(row) for row in rows],
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    has_calls = row["calls"] > 0
    return [
        row["label"],
        _percent(row["accuracy"]),
        f"{100 * row['alike']:.1f}",
        "" if row["ahead"] is None else _percent(row["ahead"], "+"),
        _percent(row["call_ratio"]) if row["call_ratio"][0] else "0",
        f"{row['calls']:.2f}" if has_calls else "",
        _percent(row["called_easy"], digits=0) if has_calls else "",
        _percent(row["called_ahead"], "+", digits=0) if has_calls and row["called_ahead"] else "",
        f"{100 * row['called_hard']:.0f}" if has_calls else "",
        f"{100 * row['right_easy']:.1f}, {100 * row['right_hard']:.1f}",
        "" if row["tokens_per_s"] is None else f"{row['tokens_per_s']:.0f}",
        "" if row["hours"] is None else f"{row['hours']:.1f}",
        "" if row["teacher_wrote"] is None else f"{row['teacher_wrote']:,.0f}",
    ]


def routers(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the methods recover of the gap, their points ahead of random routers, and their bills, as Markdown.

    Points ahead are given at the same teacher tokens, and at the same bill.
    """
    yield from _markdown(
        *("", "gap recovered %", *(f"ahead of a router from {student}" for student in STUDENTS)),
        *(*(f"from {student}, same bill" for student in STUDENTS), "bill of 1,000 answers"),
        rows=[
            [
                row["label"],
                "" if row["recovered"] is None else _percent(row["recovered"]),
                *("" if gain is None else _percent(gain, "+") for gain in (*row["gains"], *row["gains_at_bill"])),
                f"{1000 * row['bill']:.4f}",
            ]
            for row in rows
        ],
    )


def _markdown(*headings: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Without columns in which nothing stands."""
    kept = [i for i in range(len(headings)) if not i or any(row[i] for row in rows)]
    headings, rows = tuple(headings[i] for i in kept), [[row[i] for i in kept] for row in rows]
    yield "| " + " | ".join(headings) + " |"
    yield "| --- |" + " ---: |" * (len(headings) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _percent(figure: Sequence[float], sign: str = "", *, digits: int = 1) -> str:
    value, low, high = (f"{100 * number:{sign}.{digits}f}" for number in figure)
    return f"{value} ({low} to {high})"
