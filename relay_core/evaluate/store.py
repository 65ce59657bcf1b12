"""Files that stay valid if the process is killed: journals of JSON lines, from which a run resumes, and atomically
written JSON files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Journal:
    """An append-only file of JSON lines.

    Opening the file removes an incomplete last line. ``rows`` holds all rows: those in the file when it was opened, and
    those that were appended afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        whole_bytes = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n"):
                    break
                self.rows.append(row)
                whole_bytes += len(line)
            if whole_bytes != path.stat().st_size:
                os.truncate(path, whole_bytes)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row to the file immediately."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Keep only the rows for which ``wanted`` returns ``True``; the file is replaced atomically."""
        self.rows = [row for row in self.rows if wanted(row)]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        os.replace(temporary, self.path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically: a reader sees the previous file or the complete new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
