"""A report as one HTML file that holds everything: pictures as data, no script, no link to the network.

It reads on a phone (tables scroll sideways by themselves), follows a dark theme, and prints.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from relay_core.evaluate.methods import named
from relay_core.evaluate.records import Record
from relay_core.evaluate.report.summary import BenchmarkSummary
from relay_core.evaluate.report.tables import Table, tables
from relay_core.evaluate.report.verdicts import verdict
from relay_core.settings import Prices
from relay_core.unicode import printable

_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--paper:#fff;--line:#d0d7de;--faint:#59636e;--teacher:#b45309}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--line:#30363d;--faint:#9198a1;--teacher:#f0a04b}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
body{margin:0 auto;padding:1rem;max-width:72rem}
h1{font-size:1.7rem;line-height:1.25}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
h1,h2,h3,p{overflow-wrap:anywhere}
.pictures{display:flex;flex-wrap:wrap;gap:.8rem;align-items:flex-start}
img{flex:1 1 26rem;min-width:0;max-width:100%;height:auto;background:#fff;border-radius:6px}
.wide{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
td{white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}
td:first-child{white-space:normal;min-width:7rem}
.note{color:var(--faint);font-size:.85rem}
.answer{border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem;margin:.6rem 0}
.answer{white-space:pre-wrap;overflow-wrap:anywhere}
.answer .who{color:var(--faint);font-size:.8rem}
.teacher{font-weight:700;color:var(--teacher);text-decoration:underline}
@media print{body{max-width:none;padding:0;font-size:10pt}.wide{overflow:visible}table{font-size:6.5pt}
td{white-space:normal}th,td{padding:.15rem .25rem}img,tr,.answer{break-inside:avoid}h2,h3{break-after:avoid}}
"""
_EXAMPLES = 4


def html(
    title: str,
    about: Sequence[str],
    summaries: Sequence[BenchmarkSummary],
    prices: Prices,
    pictures: Mapping[str, Sequence[Path]],
) -> str:
    """The text of ``report.html``; the arguments are those of :func:`~relay_core.evaluate.report.markdown.markdown`."""
    body = [f"<h1>{escape(title)}</h1>"]
    body.append(_pictures(pictures.get("", ())))
    body += [f"<p>{escape(paragraph)}</p>" for paragraph in about]
    for summary in summaries:
        body.append(f"<h2>{escape(summary.title)}</h2>")
        body.append(_pictures(pictures.get(summary.name, ())))
        body.append(f"<p>{escape(verdict(summary))}</p>")
        body += [_table(table) for table in tables(summary, prices)]
        body += _examples(summary)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _pictures(paths: Sequence[Path]) -> str:
    images = [
        f'<img alt="{escape(path.stem)}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
        for path in paths
    ]
    return f'<div class="pictures">{"".join(images)}</div>' if images else ""


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f'<h3>{escape(table.title)}</h3><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        f'</table></div><p class="note">{escape(table.note)}</p>'
    )


def _examples(summary: BenchmarkSummary) -> list[str]:
    """Some of the relay's answers: right ones that the student alone got wrong come first, then wrong ones."""
    specs = [figures.method for figures in summary.methods]
    by_itself, relay = named("student", specs), named("relay", specs)
    student = {(r.problem, r.sample): r for r in summary.records if r.method == by_itself}
    answers = [r for r in summary.records if r.method == relay and r.outcome.calls]
    gained = [r for r in answers if r.is_right and not _is_right(student.get((r.problem, r.sample)))]
    lost = [r for r in answers if not r.is_right]
    shown = [*gained[: _EXAMPLES - 1], *lost[:1]]
    return ["<h3>Some answers of the relay</h3>", *map(_answer, shown)] if shown else []


def _is_right(record: Record | None) -> bool:
    return record is not None and record.is_right


def _answer(record: Record) -> str:
    spans = "".join(
        f'<span class="{escape(part.author)}">{escape(printable(part.text))}</span>'
        for part in record.outcome.parts
        if part.author != "command"
    )
    who = f"{record.problem}: {record.status}; right answer: {printable(record.gold)[:80]}; underlined: the teacher's"
    return f'<div class="answer">{spans}\n<span class="who">{escape(who)}</span></div>'
