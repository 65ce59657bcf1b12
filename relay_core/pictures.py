"""An answer as a self-contained HTML or SVG file that shows which model wrote each word.

The teacher's words are underlined, bold and coloured, so that readers can tell them apart even without colour. Readers
can select the text. Markup that a model wrote is escaped. Call this module through ``RelayResult.to_html`` and
``RelayResult.to_svg``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from relay_core.transcript import Author
from relay_core.unicode import printable

if TYPE_CHECKING:
    from relay_core.events import RelayResult

Run = tuple[Author, str]

_STYLE = (
    ".relay{font:15px/1.5 system-ui,sans-serif;color:#1f2328;background:#fff;border:1px solid #d0d7de;"
    "border-radius:6px;padding:12px 16px;max-width:52em}"
    ".relay .text{white-space:pre-wrap;overflow-wrap:anywhere}"
    ".relay .teacher{font-weight:700;color:#b45309;text-decoration:underline;text-underline-offset:2px}"
    ".relay .about{color:#59636e;font-size:13px;margin-top:8px}"
    "@media(prefers-color-scheme:dark){.relay{color:#e6edf3;background:#0d1117;border-color:#30363d}"
    ".relay .teacher{color:#f0a04b}.relay .about{color:#9198a1}}"
)
_COLUMNS, _CHAR_PX, _LINE_PX, _MARGIN_PX = 92, 8.4, 22, 18


def html_fragment(result: RelayResult) -> str:
    """The answer as one ``<div>`` with its own style; notebooks show this."""
    spans = "".join(
        f'<span class="{author}" title="{author}">{escape(text)}</span>' for author, text in _visible_runs(result)
    )
    legend = '<span class="student">student</span>, <span class="teacher">teacher</span>'
    return (
        f'<div class="relay"><style>{_STYLE}</style><div class="text">{spans}</div>'
        f'<div class="about">{legend} | {escape(summary(result))}</div></div>'
    )


def html_page(result: RelayResult, title: str = "An answer") -> str:
    """The answer as a complete HTML document."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(printable(title))}</title></head>\n<body>{html_fragment(result)}</body></html>\n"
    )


def svg(result: RelayResult) -> str:
    """The answer as an SVG image, in a monospaced font and wrapped at 92 columns."""
    lines = list(_wrapped(_visible_runs(result)))
    legend = [(Author.STUDENT, "student, "), (Author.TEACHER, "teacher")]
    about_lines = list(_wrapped([*legend, (Author.STUDENT, f" | {summary(result)}")]))
    width = round(_COLUMNS * _CHAR_PX + 2 * _MARGIN_PX)
    height = (len(lines) + len(about_lines)) * _LINE_PX + 3 * _MARGIN_PX
    rows = [_svg_line(line, "text", _MARGIN_PX + (i + 1) * _LINE_PX) for i, line in enumerate(lines)]
    first_about = 2 * _MARGIN_PX + (len(lines) + 1) * _LINE_PX
    rows += [_svg_line(line, "about", first_about + i * _LINE_PX) for i, line in enumerate(about_lines)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(printable(result.text))}">\n'
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1f2328}"
        ".about{fill:#59636e;font-size:12px}"
        ".teacher{fill:#b45309;font-weight:700;text-decoration:underline}</style>\n"
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff" stroke="#d0d7de"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def summary(result: RelayResult) -> str:
    """The line of figures below an answer."""
    usage = result.usage
    parts = [
        f"{usage.teacher_tokens} of {usage.completion_tokens} tokens are the teacher's ({usage.call_ratio:.1%})",
        f"{usage.calls} call{'' if usage.calls == 1 else 's'}",
    ]
    if usage.failed_calls:
        parts.append(f"{usage.failed_calls} failed")
    if result.cost is not None:
        parts.append(f"cost {result.cost:.3g}")
    return "; ".join(parts)


def _visible_runs(result: RelayResult) -> list[Run]:
    """The reader's text, split by author, with characters that cannot be shown replaced."""
    return [(s.author, printable(s.text)) for s in result.segments if s.author is not Author.COMMAND and s.text]


def _svg_line(runs: Sequence[Run], style: str, y: float) -> str:
    spans = "".join(f'<tspan class="{author}">{escape(text)}</tspan>' for author, text in runs)
    return f'<text class="{style}" x="{_MARGIN_PX}" y="{y:g}" xml:space="preserve">{spans}</text>'


def _wrapped(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """``runs`` in lines of at most ``_COLUMNS`` columns, broken at spaces if there are any."""
    characters = [(author, character) for author, text in runs for character in text.expandtabs(4)]
    line: list[Run] = []
    width, last_space = 0, -1
    for author, character in characters:
        if character == "\n":
            yield _joined(line)
            line, width, last_space = [], 0, -1
            continue
        line.append((author, character))
        width += _width(character)
        if character == " ":
            last_space = len(line)
        if width > _COLUMNS:
            end = last_space if last_space > 0 else len(line) - 1  # after the space, which may exceed the width
            yield _joined(line[:end])
            line = line[end:]
            width, last_space = sum(_width(c) for _, c in line), -1
    if line:
        yield _joined(line)


def _joined(characters: Sequence[Run]) -> list[Run]:
    """Join adjacent characters by the same author into runs."""
    runs: list[Run] = []
    for author, character in characters:
        if runs and runs[-1][0] is author:
            runs[-1] = (author, runs[-1][1] + character)
        else:
            runs.append((author, character))
    return runs


def _width(character: str) -> int:
    """Columns of a monospaced font that a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
