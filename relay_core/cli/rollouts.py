"""``relay rollouts DIR``: the answers of a training run's rollouts, also while the run is training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.cli import terminal
from relay_core.cli.options import JSON_HELP
from relay_core.train.rewards import Scenario
from relay_core.transcript import Author
from relay_core.unicode import printable

if TYPE_CHECKING:
    from rich.text import Text

    from relay_core.train.selection import Selection

_HEADINGS = ["step", "problem", "k", "answer", "reward", "scenario", "calls", "failed", "ratio"]
_LONGEST_ID = 20  # characters of a problem's id in the table
_STYLES = {**terminal.STYLES, Author.COMMAND: "dim"}
_MARKS = {Author.TEACHER: ("[", "]")}  # around the teacher's words where there are no styles


def rollouts(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a training run (its --out).", show_default=False)
    ],
    step: Annotated[
        list[int] | None, typer.Option(help="The rollout at this optimizer step; several times.", show_default=False)
    ] = None,
    scenario: Annotated[
        list[Scenario] | None, typer.Option(help="Groups of this scenario; several times.", show_default=False)
    ] = None,
    problem: Annotated[
        str | None, typer.Option(help="Answers to this problem: its id, or the beginning.", show_default=False)
    ] = None,
    correct: Annotated[
        bool | None, typer.Option("--correct/--wrong", help="Right or wrong answers only.", show_default=False)
    ] = None,
    called: Annotated[
        bool | None, typer.Option("--called/--not-called", help="With or without a call.", show_default=False)
    ] = None,
    dropped: Annotated[
        bool | None, typer.Option("--dropped/--kept", help="Left out of the loss, or not.", show_default=False)
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The answer with the highest reward of each group.")] = False,
    worst: Annotated[bool, typer.Option("--worst", help="The answer with the lowest reward of each group.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The most answers to show, the newest rollout first.")] = 20,
    chars: Annotated[int, typer.Option(min=0, help="Characters of each text in the table; 0 shows all.")] = 300,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Show the answers of a training run's rollouts: rewards, scenarios, and who wrote what."""
    from relay_core.train.selection import Query, select

    query = Query(
        steps=step or (),
        scenarios=tuple(str(s) for s in scenario or ()),
        problem=problem,
        correct=correct,
        called=called,
        dropped=dropped,
        best=best,
        worst=worst,
        limit=limit,
    )
    selection = select(folder, query)
    if json:
        terminal.print_json(_as_dict(selection))
        return
    for line in selection.skipped:
        terminal.err().print(printable(line), style="red", markup=False, soft_wrap=True)
    _print(selection, chars)


def _as_dict(selection: Selection) -> dict[str, Any]:
    return {
        "rollouts": selection.rollouts,
        "answers": selection.answers,
        "accuracy": selection.accuracy,
        "dropped": selection.dropped,
        "groups": {str(s): selection.groups[s] for s in Scenario},
        "matching": selection.matching,
        "skipped": selection.skipped,
        "rows": selection.rows,
    }


def _print(selection: Selection, chars: int) -> None:
    from relay_core.evaluate.table import aligned

    out = terminal.out()
    out.print(_head(selection), markup=False)
    if not selection.rows:
        return
    headings, *cells = _without_empty([_HEADINGS, *(_cells(row) for row in selection.rows)])
    texts = [_text(row, chars, styled=out.is_terminal) for row in selection.rows]
    if not out.is_terminal:
        lines = aligned([headings, *cells])
        for line, text in zip(lines, ["text, the teacher's words in []", *texts], strict=True):
            out.print(f"{line}  {text}", markup=False)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    text_heading = Text.assemble(terminal.legend(), (" command", _STYLES[Author.COMMAND]))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        left = heading in ("problem", "answer", "scenario")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    table.add_column(text_heading, overflow="fold", ratio=1)
    for row_cells, text in zip(cells, texts, strict=True):
        named = zip(headings, row_cells, strict=True)  # a scenario on two lines leaves more room for the text
        shown = [
            cell.replace("-", "-\n") if name == "scenario" and cell in set(Scenario) else cell for name, cell in named
        ]
        table.add_row(*map(Text, shown), text)
    out.print(table, soft_wrap=False)


def _head(selection: Selection) -> str:
    """Two lines: figures of the rollouts, and how many answers are shown."""
    groups = ", ".join(f"{selection.groups[s]} {s}" for s in Scenario)
    accuracy = "-" if selection.accuracy is None else f"{selection.accuracy:.3f}"
    dropped = f", {selection.dropped} dropped" if selection.dropped else ""
    shown = f"{selection.matching} answers match, {len(selection.rows)} shown"
    return (
        f"rollouts {selection.rollouts}, answers {selection.answers}{dropped}, accuracy {accuracy}; groups: {groups}\n"
        f"{shown if selection.rows else 'no answer matches'}"
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    problem = printable(str(row["problem"])).replace("\n", " ")
    return [
        str(row["step"]),
        problem if len(problem) <= _LONGEST_ID else f"{problem[: _LONGEST_ID - 1]}…",
        str(row["k"]),
        "dropped" if row["dropped"] else "right" if row["correct"] else "cut" if row["truncated"] else "wrong",
        "-" if row["reward"] is None else f"{row['reward']:.2f}",
        row["scenario"] or "-",
        str(row["calls"]),
        str(row["failed_calls"] or ""),
        f"{row['call_ratio'] or 0.0:.1%}",
    ]


def _without_empty(lines: list[list[str]]) -> list[list[str]]:
    """The cells of a table with its headings, without the columns that have nothing under their heading."""
    columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
    return [list(line) for line in zip(*columns, strict=True)]


def _text(row: Mapping[str, Any], chars: int, *, styled: bool) -> Text:
    """The answer on one line, each piece in the style of its author; commands, which readers never see, included."""
    from rich.text import Text

    shown, left = Text(end=""), chars or None
    for segment in row["segments"] or [{"author": Author.STUDENT, "text": row["text"] or ""}]:
        author = Author(segment["author"])
        piece = printable(segment["text"]).replace("\n", "↵")
        if left is not None:
            piece, left = piece[:left], left - len(piece)
        opening, closing = ("", "") if styled else _MARKS.get(author, ("", ""))
        shown.append(f"{opening}{piece}{closing}", style=_STYLES[author] if styled else "")
        if left is not None and left < 0:
            shown.append("…")
            break
    return shown
