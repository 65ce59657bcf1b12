"""Seconds from nothing to `import relay_core` and to `relay --help`: the best of some fresh processes each.

    .venv/bin/python benchmarks/startup.py --json

The least time counts, as noise only ever adds. What must not be loaded is tests/test_import_cost.py's business.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import relay_core": [sys.executable, "-c", "import relay_core"],
    "relay --help": [sys.executable, "-m", "relay_core.cli", "--help"],
}
LIMITS_S = {"import relay_core": 0.3, "relay --help": 0.6}


def best_s(command: list[str], runs: int) -> float:
    """The least wall-clock seconds of `runs` fresh processes."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    seconds = {name: best_s(command, args.runs) for name, command in COMMANDS.items()}
    if args.json:
        print(json.dumps({"seconds": seconds, "limits": LIMITS_S}))
    else:
        for name, value in seconds.items():
            limit = f" (limit {LIMITS_S[name]})" if name in LIMITS_S else ""
            print(f"{name:20} {value:.3f} s{limit}")


if __name__ == "__main__":
    main()
