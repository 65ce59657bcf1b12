"""The tests marked `gpu`, each test's outcome written as soon as it is known.

    python -m benchmarks.gpu.unit_tests --device cuda

The outcomes are by the test's id; that of a failed test has the end of its traceback.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.gpu.results import ROOT, Deadline, Results, step_parser

ERROR_CHARACTERS = 3000


class _Recorder:
    """A pytest plugin that reports every test's outcome."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return  # a fixture that worked
        outcome: dict[str, Any] = {"outcome": report.outcome, "seconds": round(report.duration, 2)}
        if not report.passed:
            outcome["text"] = str(report.longrepr)[-ERROR_CHARACTERS:]
        self._results.add(report.nodeid, outcome)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the step; returns pytest's exit status."""
    options = step_parser(__doc__).parse_args(arguments)
    Deadline(options.limit)
    os.environ["RELAY_GPU_TESTS_DEVICE"] = options.device
    os.environ["WITH_VLLM"] = "no"
    # The plugin would cancel the dump of the stacks that Deadline has asked for.
    pytest_options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-m", "gpu"]
    return int(pytest.main([*pytest_options, str(ROOT / "tests" / "gpu")], [_Recorder(Results(options.out))]))


if __name__ == "__main__":
    raise SystemExit(main())
