"""The page with the tables and pictures of a pair: ``README.md`` in ``docs/reproduction/PAIR``."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from relay_core.evaluate.report.markdown import table_lines
from relay_core.evaluate.report.pictures import draw_benchmarks
from relay_core.evaluate.report.summary import BenchmarkSummary
from relay_core.evaluate.report.tables import Table
from relay_core.evaluate.report.verdicts import verdict
from relay_core.evaluate.reproduce.pairs import Pair
from relay_core.evaluate.store import write_text


def write_page(
    out: Path,
    pair: Pair,
    by_seed: Mapping[int, Sequence[BenchmarkSummary]],
    tables: Sequence[Table],
    pictures: Path,
    *,
    command: str,
    took: str,
    answers: Sequence[Path] = (),
) -> Path:
    """Write the page and its pictures.

    Args:
        out: the folder of the page.
        pair: the pair.
        by_seed: the summaries of all benchmarks, for each seed.
        tables: the tables, in order.
        pictures: the folder with the pictures of the first seed's report on the pair's own task.
        command: the command that made it.
        took: how long it took, as a sentence; the training of missing students is left out.
        answers: the files of all answers, which are packed into the page's folder; each lies in its seed's folder.
    """
    first = next(iter(by_seed.values()))
    out.mkdir(parents=True, exist_ok=True)
    shown = [f"{first[0].name}-{panel}.png" for panel in ("share", "bill", "places", "lengths", "groups")]
    names = [name for name in shown if (pictures / name).exists()]
    for name in names:
        shutil.copy(pictures / name, out / name)
    if len(first) > 1:
        names.append(draw_benchmarks(first, out / "benchmarks.png").name)
    lines = [
        f"# The paper's tables on the pair `{pair.name}`",
        "",
        *(f'<img alt="{name.removesuffix(".png")}" src="{name}" width="49%">' for name in names),
        "",
        verdict(first[0]),
        "",
        f"Student: `{pair.student}`; before training: `{pair.base or pair.student}`; teacher: `{pair.teacher}`. Seeds "
        f"{', '.join(map(str, by_seed))}. Greedy decoding. {took} Made by:",
        "",
        f"```\n{command}\n```",
        "",
    ]
    for table in tables:
        if table.rows:
            lines += [f"## {table.title}", "", *table_lines(table), "", table.note, ""]
    if answers:
        lines += ["## Answers", "", _ANSWERS.format(files=", ".join(f"`{name}`" for name in _packed(answers, out))), ""]
    path = out / "README.md"
    write_text(path, "\n".join(lines))
    return path


_ANSWERS = (
    "Every answer that these tables are made of, one JSON object a line: {files}. Unpacked as "
    "`WORK/seed-S/answers.jsonl`, the command above goes on from them with `--work WORK`, where the models have the "
    "same specs and weights."
)


def _packed(answers: Sequence[Path], out: Path) -> list[str]:
    """Write ``answers-seed-S.jsonl.gz`` for each file; the same answers always give the same bytes."""
    names = []
    for file in answers:
        names.append(f"answers-{file.parent.name}.jsonl.gz")
        (out / names[-1]).write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    return names
