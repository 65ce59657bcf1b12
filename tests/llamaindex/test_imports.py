"""What ``import llamaindex_relay`` loads; how long it takes is measured by benchmarks/startup.py."""

from __future__ import annotations

import sys
from collections.abc import Callable

import llamaindex_relay


def test_nothing_is_loaded_beyond_llamaindex_and_ourselves(packages_after: Callable[[str], set[str]]) -> None:
    own = packages_after("import llama_index.core.llms.function_calling")
    assert not own & {"torch", "transformers", "vllm", "openai"}
    for code in ("import llamaindex_relay", "import llamaindex_relay; llamaindex_relay.RelayLLM()"):
        assert packages_after(code) - own - sys.stdlib_module_names == {"llamaindex_relay", "relay_core"}


def test_what_is_exported() -> None:
    assert llamaindex_relay.__all__ == ["RelayLLM"]
    assert llamaindex_relay.RelayLLM.__module__ == "llamaindex_relay.llms"
