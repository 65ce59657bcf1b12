"""Run all steps on a GPU, in the order of their worth, within ten minutes; README.md has the one call to make.

    python -m benchmarks.gpu.run --out FOLDER
    python -m benchmarks.gpu.run --out FOLDER --steps pairs-0.6B-plain trace --minutes 4
    python -m benchmarks.gpu.run --out FOLDER --device cpu --tiny       # the rehearsal

Each step is a process of its own with its own time limit. A step that fails or hangs does not stop the next one: the
end of its error output, with the traceback or the stacks of all threads, is its result. FOLDER/results.json has
everything that is known so far, at any moment; FOLDER/log.txt has what the steps printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu.results import ROOT
from relay_core.evaluate.store import write_json

ERROR_CHARACTERS = 6000
POLL_S = 0.5
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONUNBUFFERED": "1"}
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pytest")


@dataclass(frozen=True)
class Step:
    """One step.

    Args:
        name: its name in the results.
        module: the module of this folder to run.
        limit_s: seconds after which it is stopped.
        arguments: of the module.
        kept_s: seconds that steps before this one may not use.
        needs_cuda: left out in a rehearsal on the CPU.
    """

    name: str
    module: str
    limit_s: float
    arguments: tuple[str, ...] = ()
    kept_s: float = 0.0
    needs_cuda: bool = False


def _pair(student: str, batching: str, limit_s: float) -> Step:
    arguments = ("--student", student, "--teacher", "8B", "--batching", batching)
    return Step(f"pairs-{student}-{batching}", "pairs", limit_s, arguments, needs_cuda=batching != "plain")


STEPS = (
    Step("demo", "demo", 90),
    Step("transcripts", "transcripts", 60),
    Step("tests", "unit_tests", 120),
    _pair("0.6B", "plain", 120),
    _pair("0.6B", "async", 90),
    _pair("1.7B", "plain", 90),
    _pair("0.6B", "graphs", 60),
    _pair("1.7B", "both", 60),
    Step("trace", "step_trace", 60, kept_s=60),
)


def run_step(step: Step, limit_s: float, options: argparse.Namespace, report: Report) -> None:
    """Run one step, copying its results into the report while it runs."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder) / "results.json", Path(folder) / "errors.txt"
        command = [sys.executable, "-m", f"benchmarks.gpu.{step.module}", "--device", options.device, "--out", str(out)]
        command += ["--limit", f"{limit_s:.0f}", *step.arguments, *(["--tiny"] if options.tiny else [])]
        with open(options.out / "log.txt", "ab") as log, open(errors, "wb") as error_output:
            log.write(f"\n== {step.name}: {' '.join(command)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **ENVIRONMENT},
                stdout=log,
                stderr=error_output,
                start_new_session=True,
            )
            while (status := _wait(process)) is None and time.monotonic() - began < limit_s:
                report.update(step.name, "running", began, out)
            if status is None:
                _stop(process)
        error_text = errors.read_text(errors="replace")
        with open(options.out / "log.txt", "a") as log_text:
            log_text.write(error_text)
        outcome = {None: "timed out", 0: "ok"}.get(status, "failed")
        report.update(step.name, outcome, began, out, "" if status == 0 else error_text[-ERROR_CHARACTERS:])


class Report:
    """``results.json``: the machine, and each step's status, seconds, results and error."""

    def __init__(self, path: Path, device: str) -> None:
        self._path = path
        self.steps: dict[str, dict[str, Any]] = {}
        self._values = {"machine": machine(device), "steps": self.steps}

    def update(self, name: str, status: str, began: float, out: Path, error: str = "") -> None:
        """Set a step's status and copy the results that it has written so far."""
        entry: dict[str, Any] = {"status": status, "seconds": round(time.monotonic() - began, 1), "results": {}}
        if out.exists():
            entry["results"] = json.loads(out.read_text())
        if error:
            entry["error"] = error
        self.steps[name] = entry
        write_json(self._path, self._values)

    def leave_out(self, name: str, reason: str) -> None:
        """Note a step that does not run."""
        self.steps[name] = {"status": f"left out: {reason}", "seconds": 0.0, "results": {}}
        write_json(self._path, self._values)


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    """The exit status, or ``None`` if the process still runs after a moment."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(POLL_S)
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process with all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def machine(device: str) -> dict[str, Any]:
    """The card, its driver, and the versions of what runs on it."""
    about: dict[str, Any] = {"device": device, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            about[package] = version(package)
    if device != "cpu":
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            about["card"] = subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.strip()
    return about


def run(options: argparse.Namespace) -> Report:
    """Run the steps that fit into the time."""
    options.out.mkdir(parents=True, exist_ok=True)
    report = Report(options.out / "results.json", options.device)
    end = time.monotonic() + 60 * options.minutes
    steps = [step for step in STEPS if not options.steps or step.name in options.steps]
    for number, step in enumerate(steps):
        limit_s = min(step.limit_s, end - time.monotonic() - sum(later.kept_s for later in steps[number + 1 :]))
        if step.needs_cuda and options.device == "cpu":
            report.leave_out(step.name, "it needs CUDA")
        elif limit_s < step.limit_s / 4:
            report.leave_out(step.name, f"{max(0, limit_s):.0f} s were left")
        else:
            run_step(step, limit_s, options, report)
        print(f"{step.name:20} {report.steps[step.name]['status']}, {report.steps[step.name]['seconds']} s", flush=True)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; the exit status is 1 if one of them failed or timed out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for results.json and log.txt")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--tiny", action="store_true", help="as little work as shows that all steps run")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all steps together")
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in STEPS], help="only these")
    report = run(parser.parse_args(arguments))
    return 1 if any(step["status"] in ("failed", "timed out") for step in report.steps.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
