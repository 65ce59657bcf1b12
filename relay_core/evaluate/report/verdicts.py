"""What a benchmark shows, in a few sentences."""

from __future__ import annotations

import math

from relay_core.evaluate.methods import without_label
from relay_core.evaluate.report.summary import BenchmarkSummary
from relay_core.evaluate.report.tables import counted, in_words


def verdict(summary: BenchmarkSummary) -> str:
    """What the relay gains; without a relay, what was measured."""
    asked = counted(summary.problems, "problem")
    asked += f", {summary.samples} answers to each" if summary.samples > 1 else ""
    relay = summary.method("relay")
    if relay is None:
        return f"{asked}; {counted(len(summary.methods), 'method')}."
    said = [f"{asked}. The relay is right on {in_words(relay.accuracy)}, and its teacher writes "
            f"{in_words(relay.call_ratio)} of the tokens."]  # fmt: skip
    against = next((a for a in summary.router if a.method == relay.method), None)
    if against is not None:
        student, teacher = summary.method("student"), summary.method("teacher")
        assert student is not None and teacher is not None
        if teacher.accuracy.value > student.accuracy.value:
            said.append(f"It recovers {in_words(against.recovered)} of the gap between student and teacher.")
        if relay.accuracy.value > teacher.accuracy.value > student.accuracy.value:
            said.append(
                "No random router is as accurate, since the relay is above the teacher; it saves "
                f"{in_words(against.saved)} of the teacher's own tokens."
            )
        elif math.isfinite(against.saved.value):
            said.append(
                f"For the same accuracy, a random router needs {in_words(against.share)} of the prompts; the relay "
                f"saves {in_words(against.saved)} of that router's teacher tokens."
            )
        gain = in_words(against.gain_at_cost, signed=True)
        said.append(f"Its accuracy minus that of the router with the same bill is {gain}.")
    ahead: list[str] = []
    behind: list[str] = []
    open_: list[str] = []
    for d in summary.differences:
        if without_label(d.method) in ("student", "teacher") or d.method.startswith("random-router"):
            continue
        place = ahead if d.accuracy.low > 0 else behind if d.accuracy.high < 0 else open_
        place.append(d.label)
    for names, text in ((ahead, "more accurate than"), (behind, "less accurate than")):
        if names:
            said.append(f"It is {text} {', '.join(names)}.")
    if open_:
        said.append(f"No difference in accuracy is certain against {', '.join(open_)}.")
    return " ".join(said)
