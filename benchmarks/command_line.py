"""What the command lines of several benchmarks share: options, printing the result, and the exit status."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relay_core import RelayError

Result = dict[str, Any]


def add_output_options(parser: argparse.ArgumentParser, *, plot: bool = False) -> None:
    """Add ``--json``, and ``--plot`` on request."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    if plot:
        parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the result into this file")


def add_task_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--task``, for :func:`relay_core.evaluate.task.task_from_spec`."""
    parser.add_argument("--task", default="bundled", help="source of the problems: bundled, or a JSONL or Parquet file")


def run_benchmark(
    options: argparse.Namespace,
    measure: Callable[[], Result],
    show: Callable[[Result], None],
    *,
    draw: Callable[[Result, Path], None] | None = None,
    passed: Callable[[Result], bool] = lambda result: True,
) -> int:
    """Measure, then print the result, and draw it where ``--plot`` asks for that.

    Args:
        options: the command line, with the options of :func:`add_output_options`.
        measure: returns the result, which can be written as JSON.
        show: prints the result for a person.
        draw: draws the result into a file; needed if the script has ``--plot``.
        passed: whether the result is as it must be.

    Returns:
        The exit status: 0; 1 if the result did not pass; 2 after a ``RelayError``, whose message is printed.
    """
    try:
        result = measure()
    except RelayError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    if draw is not None and options.plot:
        draw(result, options.plot)
    return 0 if passed(result) else 1
