"""Reports of an evaluation, all computed from its records.

summary.py      all figures, benchmark by benchmark; figures.py: those of a method; comparisons.py: paired
                differences, the gap that is recovered, the random router; resampling.py: bootstrap intervals
tables.py       the tables as text; verdicts.py: what they show, in a few sentences
pictures.py     the pictures
markdown.py     report.md
html.py         report.html, one file that holds everything
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from relay_core.evaluate.report.html import html
from relay_core.evaluate.report.markdown import markdown
from relay_core.evaluate.report.pictures import draw
from relay_core.evaluate.report.summary import BenchmarkSummary, summarize
from relay_core.evaluate.store import write_json, write_text
from relay_core.settings import Prices

__all__ = ["BenchmarkSummary", "summarize", "write_report"]


def write_report(
    folder: Path,
    summaries: Sequence[BenchmarkSummary],
    prices: Prices,
    *,
    title: str = "Evaluation",
    about: Sequence[str] = (),
) -> None:
    """Write ``report.md``, ``report.html``, ``report.json`` and the pictures (``pictures/*.png``) into a folder.

    Args:
        folder: the folder of the evaluation.
        summaries: one for each benchmark.
        prices: prices per million tokens.
        title: the heading.
        about: paragraphs on what was evaluated.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pictures = draw(summaries, folder / "pictures")
    write_text(folder / "report.md", markdown(title, about, summaries, prices, pictures, relative_to=folder))
    write_text(folder / "report.html", html(title, about, summaries, prices, pictures))
    write_json(folder / "report.json", {"benchmarks": [summary.as_dict() for summary in summaries]})
