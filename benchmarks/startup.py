"""Seconds from nothing to `import relay_core`, `relay --help` and either plugin: the best of some fresh processes each.

    .venv/bin/python benchmarks/startup.py --json

The least time counts, as noise only ever adds; all take turns. Beside a plugin stands what its framework takes alone.
What must not be loaded is the business of tests/test_import_cost.py and of the plugins' tests/*/test_imports.py.
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
    "LangChain alone": [
        sys.executable,
        "-c",
        "import langchain_core.language_models.chat_models, langchain_core.tools",
    ],
    "import langchain_relay": [sys.executable, "-c", "import langchain_relay"],
    "LlamaIndex alone": [sys.executable, "-c", "import llama_index.core.llms.function_calling"],
    "import llamaindex_relay": [sys.executable, "-c", "import llamaindex_relay"],
}
LIMITS_S = {
    "import relay_core": 0.3,
    "relay --help": 0.6,
    "import langchain_relay": 0.7,
    "import llamaindex_relay": 0.7,
}


def best_s(commands: dict[str, list[str]], runs: int) -> dict[str, float]:
    """The least wall-clock seconds of `runs` fresh processes of each."""
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(runs):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    seconds = best_s(COMMANDS, args.runs)
    if args.json:
        print(json.dumps({"seconds": seconds, "limits": LIMITS_S}))
    else:
        for name, value in seconds.items():
            limit = f" (limit {LIMITS_S[name]})" if name in LIMITS_S else ""
            print(f"{name:23} {value:.3f} s{limit}")


if __name__ == "__main__":
    main()
