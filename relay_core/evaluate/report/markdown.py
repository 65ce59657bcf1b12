"""A report as Markdown, with links to its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from relay_core.evaluate.report.summary import BenchmarkSummary
from relay_core.evaluate.report.tables import Table, tables
from relay_core.evaluate.report.verdicts import verdict
from relay_core.settings import Prices


def markdown(
    title: str,
    about: Sequence[str],
    summaries: Sequence[BenchmarkSummary],
    prices: Prices,
    pictures: Mapping[str, Sequence[Path]],
    *,
    relative_to: Path,
) -> str:
    """The text of ``report.md``.

    Args:
        title: the heading.
        about: paragraphs on what was evaluated.
        summaries: one for each benchmark.
        prices: prices per million tokens.
        pictures: the files of each benchmark, by its name; those of all together by an empty name.
        relative_to: the report's folder.
    """
    lines = [f"# {title}", ""]
    lines += _pictures(pictures.get("", ()), relative_to)
    for paragraph in about:
        lines += [paragraph, ""]
    for summary in summaries:
        lines += [f"## {summary.title}", ""]
        lines += _pictures(pictures.get(summary.name, ()), relative_to)
        lines += [verdict(summary), ""]
        for table in tables(summary, prices):
            lines += [f"### {table.title}", "", *table_lines(table), "", table.note, ""]
    return "\n".join(lines)


def _pictures(paths: Sequence[Path], relative_to: Path) -> list[str]:
    """The pictures, two in a row."""
    images = [f'<img alt="{path.stem}" src="{path.relative_to(relative_to).as_posix()}" width="49%">' for path in paths]
    return [*images, ""] if images else []


def table_lines(table: Table) -> list[str]:
    """The lines of a table."""
    rule = ["---", *["---:"] * (len(table.headings) - 1)]
    return [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (table.headings, rule, *table.rows)]


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
