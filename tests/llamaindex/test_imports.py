"""What ``import llamaindex_relay`` loads; how long it takes is measured by benchmarks/startup.py."""

from __future__ import annotations

import json
import subprocess
import sys

import llamaindex_relay

LLAMAINDEX = "import llama_index.core.llms.function_calling"
SHOW = "; import json, sys; print(json.dumps([*{name.partition('.')[0] for name in sys.modules}]))"


def packages(code: str) -> set[str]:
    """The packages that are loaded after ``code`` in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code + SHOW], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_nothing_is_loaded_beyond_llamaindex_and_ourselves() -> None:
    llamaindex = packages(LLAMAINDEX)
    assert not llamaindex & {"torch", "transformers", "vllm"}
    for code in ("import llamaindex_relay", "import llamaindex_relay; llamaindex_relay.RelayLLM()"):
        assert packages(code) - llamaindex - sys.stdlib_module_names == {"llamaindex_relay", "relay_core"}


def test_what_is_exported() -> None:
    assert llamaindex_relay.__all__ == ["RelayLLM"]
    assert llamaindex_relay.RelayLLM.__module__ == "llamaindex_relay.llms"
