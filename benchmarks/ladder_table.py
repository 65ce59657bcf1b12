"""The figures of ladder.py, and its two tables: of the methods, and of what routers give in their place.

Many of the problems share a calculation, and a student answers them alike. So all intervals are bootstraps over
calculations, not over problems as those of `relay eval`: they are wider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from relay_core.evaluate.benchmarks.word_problems import calculation_of
from relay_core.evaluate.intervals import bootstrap
from relay_core.evaluate.prices import EXAMPLE_PRICES
from relay_core.evaluate.records import Record
from relay_core.evaluate.report.figures import cost

#: The answers of one method, by problem.
Answers = Mapping[str, Record]
#: Labels of the models between which a router chooses. The table has a router for each of these students.
STUDENTS = ("student alone", "distilled")
TEACHER = "teacher alone"


def figures(found: Answers, answered: Mapping[str, Answers], *, reference: str) -> dict[str, Any]:
    """The figures of one method's answers; those with an interval as ``[value, low, high]``.

    Args:
        found: the method's answers.
        answered: the answers of all methods to the same problems, by label.
        reference: the method whose accuracy is subtracted in ``ahead``.

    ``alike`` is the accuracy if every calculation has the same weight, however many problems share it.
    ``called_ahead`` is what ``ahead`` is, for the share of easy problems with a call. ``recovered`` is the share of
    the gap between the first of :data:`STUDENTS` and the teacher. ``gains`` has the accuracy less that of a router with
    as many of the teacher's tokens, for each of :data:`STUDENTS`, and ``gains_at_bill`` less that of a router with the
    same bill. These are None where a model was not measured.
    """
    right = _right(found)
    easy = [problem for problem, record in found.items() if record.group == "easy"]
    usages = {problem: record.outcome.usage for problem, record in found.items()}
    called = {problem: float(usage.calls > 0) for problem, usage in usages.items()}
    shares = {problem: (usage.teacher_tokens, usage.completion_tokens) for problem, usage in usages.items()}
    compared = None if reference not in answered or found is answered[reference] else answered[reference]
    teacher = answered.get(TEACHER)

    def called_in(group: str) -> float:
        return _mean([called[problem] for problem, record in found.items() if record.group == group])

    def right_in(group: str) -> float:
        return _mean([right[problem] for problem, record in found.items() if record.group == group])

    return {
        "accuracy": _by_calculation(found, lambda drawn: _mean([right[problem] for problem in drawn])),
        "call_ratio": _by_calculation(found, lambda drawn: _ratio([shares[problem] for problem in drawn])),
        "called_easy": _by_calculation(easy, lambda drawn: _mean([called[problem] for problem in drawn])),
        "alike": _mean([_mean([right[problem] for problem in cluster]) for cluster in _clusters(found)]),
        "ahead": None if compared is None else _by_calculation(
            found, lambda drawn: _mean([right[problem] - compared[problem].is_right for problem in drawn])
        ),
        "called_ahead": None if compared is None else _by_calculation(
            easy,
            lambda drawn: _mean(
                [called[problem] - (compared[problem].outcome.usage.calls > 0) for problem in drawn]
            ),
        ),
        "calls": _mean([float(usage.calls) for usage in usages.values()]),
        "called_hard": called_in("hard"),
        "right_easy": right_in("easy"),
        "right_hard": right_in("hard"),
        "recovered": _recovered(found, answered.get(STUDENTS[0]), teacher),
        "gains": [_gain(found, answered.get(student), teacher, _teacher_tokens) for student in STUDENTS],
        "gains_at_bill": [_gain(found, answered.get(student), teacher, _bill) for student in STUDENTS],
    }  # fmt: skip


def _recovered(found: Answers, student: Answers | None, teacher: Answers | None) -> list[float] | None:
    """(method - student) / (teacher - student), in accuracy."""
    if student is None or teacher is None or found in (student, teacher):
        return None
    method, low, high = _right(found), _right(student), _right(teacher)

    def share(drawn: Sequence[str]) -> float:
        gap = sum(high[problem] - low[problem] for problem in drawn)
        return sum(method[problem] - low[problem] for problem in drawn) / gap if gap else 0.0

    return _by_calculation(found, share)


def _gain(
    found: Answers, student: Answers | None, teacher: Answers | None, spent: Callable[[Record], float]
) -> list[float] | None:
    """The accuracy less that of a router which sends whole problems to the teacher, at random, until it has spent as
    much as the method. Where the method is cheaper than the student, the router sends none."""
    if student is None or teacher is None or found in (student, teacher):
        return None
    method, low, high = _right(found), _right(student), _right(teacher)
    own, cheap, dear = ({problem: spent(record) for problem, record in of.items()} for of in (found, student, teacher))

    def gain(drawn: Sequence[str]) -> float:
        more = sum(own[problem] - cheap[problem] for problem in drawn)
        sent = min(1.0, max(0.0, more / sum(dear[problem] - cheap[problem] for problem in drawn)))
        return _mean([method[problem] - (1 - sent) * low[problem] - sent * high[problem] for problem in drawn])

    return _by_calculation(found, gain)


def _right(found: Answers) -> dict[str, float]:
    return {problem: float(record.is_right) for problem, record in found.items()}


def _teacher_tokens(record: Record) -> int:
    return record.outcome.usage.teacher_tokens


def _bill(record: Record) -> float:
    """At the example prices of `relay eval`, without caching."""
    return cost(record.outcome.usage, EXAMPLE_PRICES)


def _clusters(problems: Iterable[str]) -> list[list[str]]:
    """The problems of each calculation."""
    clusters: dict[str, list[str]] = {}
    for problem in problems:
        clusters.setdefault(calculation_of(problem), []).append(problem)
    return list(clusters.values())


def _by_calculation(problems: Iterable[str], statistic: Callable[[Sequence[str]], float]) -> list[float]:
    """A statistic of the problems, and its interval: a bootstrap over their calculations."""
    clusters = _clusters(problems)

    def of_clusters(drawn: Sequence[Sequence[str]]) -> float:
        return statistic([problem for cluster in drawn for problem in cluster])

    return [statistic([*problems]), *bootstrap(clusters, of_clusters)] if clusters else [0.0, 0.0, 0.0]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _ratio(pairs: Sequence[tuple[int, int]]) -> float:
    return sum(part for part, _ in pairs) / max(1, sum(whole for _, whole in pairs))


def table(rows: Sequence[Mapping[str, Any]], reference: str) -> Iterator[str]:
    """The methods as a Markdown table."""
    yield from _markdown(
        *("", "accuracy %", "each calculation alike", f"less {reference}", "call ratio %", "calls", "calls on easy %"),
        *(
            f"less {reference}",
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
    yield "| " + " | ".join(headings) + " |"
    yield "| --- |" + " ---: |" * (len(headings) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _percent(figure: Sequence[float], sign: str = "", *, digits: int = 1) -> str:
    value, low, high = (f"{100 * number:{sign}.{digits}f}" for number in figure)
    return f"{value} ({low} to {high})"
