"""What ``import langchain_relay`` loads; how long it takes is measured by benchmarks/startup.py."""

from __future__ import annotations

import sys
from collections.abc import Callable


def test_nothing_is_loaded_beyond_langchain_and_ourselves(packages_after: Callable[[str], set[str]]) -> None:
    own = packages_after("import langchain_core.language_models.chat_models, langchain_core.tools")
    assert not own & {"torch", "transformers", "vllm", "openai", "trl", "llama_index"}
    for code in ("import langchain_relay", "import langchain_relay; langchain_relay.ChatRelay().bind(stop='x')"):
        assert packages_after(code) - own - sys.stdlib_module_names == {"langchain_relay", "relay_core"}
