"""Kill a training run at random moments, resume it, and compare what it leaves with an undisturbed run.

    python tools/kill_and_resume.py              # 20 kills, in as many runs as they take
    python tools/kill_and_resume.py --kills 2    # what the tests do
    python tools/kill_and_resume.py --lora.r 8   # other flags are those of the training run

The run is the bundled recipe in miniature: all stages, on the bundled student and teacher. Each killed run gets SIGKILL
at moments that are drawn at random over the time that an undisturbed run takes, and is started again by the same
command until it ends. Its data files, the answers and rewards of its rollouts, and its final weights must equal those
of the undisturbed run. Exit code 1 if a run does not resume, or leaves anything else.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = [
    "--warmup.problems", "48", "--warmup.draws", "1", "--warmup.blocked_problems", "8",
    "--warmup.trainer.save_steps", "1", "--warmup.batch_size", "8",
    "--filter.problems", "12", "--filter.samples", "2", "--filter.keep", "0",
    "--grpo.rollouts", "4", "--grpo.prompts", "4", "--grpo.group_size", "4", "--grpo.updates", "2",
    "--grpo.checkpoint_every", "1", "--relay.max_tokens", "128", "--measure.problems", "10",
]  # fmt: skip
#: the time that something took, the processes that did it, and what depends on the answers that ran at the same time
NOT_REPEATED = {"seconds", "call_seconds", "rank", "usage", "sampler_gap", "sampler_gap_mean"}
LOGPROB_TOLERANCE = 1e-4  # their last digits depend on those answers, too


def start(out: Path, seed: int, more: list[str]) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "relay_core.train",
        "all",
        "--recipe",
        "bundled",
        "--seed",
        str(seed),
        *FLAGS,
        *more,
    ]
    return subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str | None:
    """Wait for the end of a run; returns what it printed if it failed."""
    _, errors = process.communicate()
    return None if process.returncode == 0 else errors


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill the process after some seconds; returns whether it was still running."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def left(out: Path) -> Iterator[tuple[str, Any]]:
    """What a run leaves: names and contents that every run of this seed repeats."""
    import pyarrow.parquet

    for name in ("warmup/samples.jsonl", "filter/answers.jsonl", "filter/rates.jsonl", "recipe.yaml"):
        yield name, (out / name).read_bytes()
    for file in sorted((out / "grpo" / "rollouts").glob("*")):
        rows = pyarrow.parquet.read_table(file).to_pylist()
        yield file.name, [{k: v for k, v in row.items() if k not in NOT_REPEATED} for row in rows]
    for folder in ("student-warm", "student-relay"):
        for file in (out / folder).glob("*.safetensors"):
            yield f"{folder}/{file.name}", file.read_bytes()


def differences(out: Path, expected: dict[str, Any]) -> list[str]:
    """The names of what a run left otherwise."""
    found = dict(left(out))
    return [name for name in sorted({*expected, *found}) if not same(expected.get(name), found.get(name))]


def same(a: Any, b: Any) -> bool:
    """Whether two contents are equal, apart from the last digits of log-probabilities."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, abs_tol=LOGPROB_TOLERANCE)
    return bool(a == b)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments, and of the training runs")
    parser.add_argument("--keep", type=Path, help="folder for the runs (default: a temporary one, removed at the end)")
    options, more = parser.parse_known_args()
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    rng, failures = random.Random(options.seed), 0
    began = time.monotonic()
    if errors := finish(start(folder / "undisturbed", options.seed, more)):
        print(errors)
        return 1
    duration = time.monotonic() - began
    expected = dict(left(folder / "undisturbed"))
    print(f"undisturbed: {duration:.1f} s")
    kills = run = 0
    while kills < options.kills:
        out, before = folder / f"killed-{run}", kills
        while kills < options.kills and kill_after(start(out, options.seed, more), rng.uniform(0.0, duration)):
            kills += 1
        errors = finish(start(out, options.seed, more))
        problems = [f"does not resume: {errors}"] if errors else differences(out, expected)
        failures += bool(problems)
        told = f"differs: {', '.join(problems)}" if problems else "the same"
        print(f"run {run}: killed {kills - before} times; {told}", flush=True)
        run += 1
    if options.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
