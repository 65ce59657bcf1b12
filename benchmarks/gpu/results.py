"""How a step reports: each result is written into the step's JSON file as soon as it is known.

A step that fails or is stopped keeps the results that it has written.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import time
from pathlib import Path
from typing import Any

from relay_core.evaluate.store import write_json

ROOT = Path(__file__).parents[2]
_DUMP_BEFORE_END_S = 3.0


class Results:
    """The results of one step, by name.

    Args:
        path: the JSON file; ``None`` writes none. Each result is printed as well.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._values: dict[str, Any] = {}

    def add(self, name: str, value: Any) -> None:
        """Set one result and write the file."""
        self._values[name] = value
        print(json.dumps({name: value}), flush=True)
        if self._path is not None:
            write_json(self._path, self._values)


def step_parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with the options that all steps share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--tiny", action="store_true", help="as little work as shows that the step runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results into this JSON file")
    parser.add_argument(
        "--limit", type=float, default=0.0, metavar="S", help="seconds until the step is stopped; 0: none"
    )
    return parser


class Deadline:
    """The end of a step's time.

    Shortly before it, the stacks of all threads are written to standard error: a step that hangs shows where.

    Args:
        limit_s: seconds from now; 0 for no end.
    """

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s if limit_s > 0 else None
        if limit_s > _DUMP_BEFORE_END_S:
            self._error_output = os.fdopen(os.dup(2), "w")  # pytest redirects the original while a test runs
            faulthandler.dump_traceback_later(limit_s - _DUMP_BEFORE_END_S, file=self._error_output)

    @property
    def seconds_left(self) -> float:
        """Seconds until the end; infinite without one."""
        return float("inf") if self._end is None else self._end - time.monotonic()
