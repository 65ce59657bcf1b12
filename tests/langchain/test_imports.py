"""What ``import langchain_relay`` loads; how long it takes is measured by benchmarks/startup.py."""

from __future__ import annotations

import json
import subprocess
import sys

LANGCHAIN = "import langchain_core.language_models.chat_models, langchain_core.tools"
SHOW = "; import json, sys; print(json.dumps([*{name.partition('.')[0] for name in sys.modules}]))"


def packages(code: str) -> set[str]:
    """The packages that are loaded after ``code`` in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code + SHOW], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_nothing_is_loaded_beyond_langchain_and_ourselves() -> None:
    langchain = packages(LANGCHAIN)
    assert not langchain & {"torch", "transformers", "vllm"}
    for code in ("import langchain_relay", "import langchain_relay; langchain_relay.ChatRelay().bind(stop='x')"):
        assert packages(code) - langchain - sys.stdlib_module_names == {"langchain_relay", "relay_core"}
