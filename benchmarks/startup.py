"""Seconds from nothing to `import relay_core`, `relay --help` and either plugin: the best of some fresh processes each.

    python benchmarks/startup.py --json

The commands take turns, and the least time of each counts, as noise only ever adds. What a framework takes alone stands
beside its plugin. Which modules must not be loaded is tested elsewhere: in tests/test_import_cost.py and in
tests/langchain/test_imports.py and tests/llamaindex/test_imports.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.command_line import add_output_options, run_benchmark

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


def least_seconds(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, float]:
    """The least wall-clock seconds of ``runs`` fresh processes of each command."""
    least = dict.fromkeys(commands, float("inf"))
    for _ in range(runs):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            least[name] = min(least[name], time.perf_counter() - began)
    return least


def show(result: dict[str, Any]) -> None:
    """Print the result as lines."""
    for name, seconds in result["seconds"].items():
        limit = f" (limit {result['limits'][name]})" if name in result["limits"] else ""
        print(f"{name:23} {seconds:.3f} s{limit}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="processes of each command")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    return run_benchmark(options, lambda: {"seconds": least_seconds(COMMANDS, options.runs), "limits": LIMITS_S}, show)


if __name__ == "__main__":
    raise SystemExit(main())
