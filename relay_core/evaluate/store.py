"""Files that stay valid if the process is killed: journals of JSON lines, from which a run resumes, and JSON files that
are written atomically."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of JSON lines; none if there is no file.

    A last line without its end is what a kill leaves, and is passed over. Any other line that is not a JSON object is
    passed over too, and said on standard error: the disk or another program damaged it.
    """
    rows, _ = _read(path)
    return rows


def _read(path: Path) -> tuple[list[Row], bool]:
    """The rows, and whether the file holds nothing else."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    rows, damaged = [], []
    for number, line in enumerate(lines, 1):
        row: Any = None
        if line.endswith(b"\n"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
        if isinstance(row, dict):
            rows.append(row)
        elif line.endswith(b"\n"):
            damaged.append(number)
    if damaged:
        where = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
        print(f"{path}: passed over {len(damaged)} damaged lines ({where})", file=sys.stderr)
    return rows, len(rows) == len(lines)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file of JSON lines atomically: a reader sees the previous file or the complete new one."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically: a reader sees the previous file or the complete new one."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: a reader sees the previous file or the complete new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


class Journal:
    """An append-only file of JSON lines.

    ``rows`` holds all rows: those in the file when it was opened (:func:`read_rows`; a file that holds anything else is
    replaced by one with these rows), and those that were appended afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows, whole = _read(path)
        if not whole:
            write_rows(path, self.rows)

    def append(self, row: Row) -> None:
        """Write one row to the file immediately; if the disk is full, the file stays as it was."""
        with self.path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            line = json.dumps(row).encode() + b"\n"
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:
                file.truncate(size)
                raise
        self.rows.append(row)

    def keep(self, wanted: Callable[[Row], bool]) -> None:
        """Keep only the rows for which ``wanted`` returns ``True``; the file is replaced atomically."""
        self.rows = [row for row in self.rows if wanted(row)]
        write_rows(self.path, self.rows)
