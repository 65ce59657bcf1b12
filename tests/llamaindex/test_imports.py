"""What ``import llamaindex_relay`` costs."""

from __future__ import annotations

import subprocess
import sys

import llamaindex_relay

SCRIPT = """
import sys, time
import llama_index.core, llama_index.core.llms.function_calling
began = time.process_time()
import llamaindex_relay
llamaindex_relay.RelayLLM()  # the bundled pair, which loads with its first answer
heavy = ("torch", "transformers", "vllm", "openai")
print(time.process_time() - began, *(name for name in heavy if name in sys.modules))
"""


def test_importing_and_building_add_little_and_load_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    seconds, *loaded = done.stdout.split()
    assert not loaded
    assert float(seconds) < 0.3


def test_what_is_exported() -> None:
    assert llamaindex_relay.__all__ == ["RelayLLM"]
    assert llamaindex_relay.RelayLLM.__module__ == "llamaindex_relay.llms"
