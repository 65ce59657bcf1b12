from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("torch", "transformers", "vllm", "openai", "trl", "llama_index")
SCRIPT = """
import json, sys, time
began = time.process_time()
import {module}
{then}
print(json.dumps([time.process_time() - began, sorted(sys.modules)]))
"""


def imported(module: str, then: str = "", times: int = 3) -> tuple[float, set[str]]:
    """CPU seconds that an import takes in a process of its own, the best of some, and what it loads."""
    runs = []
    for _ in range(times):
        command = [sys.executable, "-c", SCRIPT.format(module=module, then=then)]
        runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return min(seconds for seconds, _ in runs), set(runs[0][1])


def test_importing_is_quick_and_loads_nothing_heavy() -> None:
    seconds, modules = imported("langchain_relay")
    assert not modules & set(HEAVY)
    own, _ = imported("langchain_core.language_models.chat_models")
    assert seconds <= max(0.7, 1.4 * own), f"{seconds:.2f} s, of which LangChain's own {own:.2f} s"


def test_building_the_bundled_pair_loads_nothing_heavy() -> None:
    _, modules = imported("langchain_relay", "langchain_relay.ChatRelay().bind_tools([]).bind(stop='x')", times=1)
    assert not modules & set(HEAVY)
