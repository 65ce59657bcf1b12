"""All code of docs/llamaindex.md and of the example scripts runs; scripts stand in for the models that they name."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import llamaindex_relay
from relay_core import ScriptedEngine
from relay_core.adapters import build_relay
from relay_core.engines.base import Prompt
from relay_core.tokenizer import Tokenizer
from tests.llamaindex.conftest import load_example
from tests.llamaindex.test_agent import calculator, clerk

PAGE = Path(__file__).parents[2] / "docs" / "llamaindex.md"


def student(prompt: Prompt) -> str:
    """Answers what the page asks, in Qwen's tool form where tools are on offer."""
    written = prompt.text.rpartition("<|im_start|>assistant")[2]
    if "What do 6 lamps cost?" in prompt.text:
        return clerk(prompt)
    if '"name": "Offer"' in written:
        return ' {"item": "lamp", "coins": 47}}\n</tool_call>'
    if written.endswith('"arguments":'):
        return ' {"item": "lamp"}}\n</tool_call>'
    if "<tools>" in prompt.text and "<tool_response>" not in prompt.text:
        return '<tool_call>\n{"name": "price", "arguments": {"item": "lamp"}}\n</tool_call>'
    return "It is <call>3</call>" if prompt.turn == 0 else " coins."


def teacher(prompt: Prompt) -> str:
    return calculator(prompt) if " * " in prompt.text.rpartition("assistant")[2] else "186"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, qwen3: Tokenizer, shop: ModuleType) -> None:
    def engine(spec: str, *, role: str, **_: Any) -> ScriptedEngine:
        return ScriptedEngine(student if role == "student" else teacher, qwen3, context_length=4000)

    monkeypatch.setattr(build_relay, "shared_engine", engine)


def test_every_block_of_the_page_runs(scripted: None, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 10
    names: dict[str, Any] = {"__name__": "page"}
    printed = []
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
        printed.append(capsys.readouterr().out)
    assert printed[0] == "It is 186 coins.\n"
    assert printed[2].count("It is 186 coins.") == 3
    assert printed[3] == "It is 186 coins."
    assert "1 calls" in printed[4]
    assert "teacher  186" in printed[4]
    assert printed[5].startswith("It is [1")
    assert "item='lamp' coins=47" in printed[7]
    assert printed[8] == "52\n"
    assert printed[9] == "It is 186 coins.\n"


@pytest.mark.parametrize("name", ["llamaindex_query", "llamaindex_chat"])
def test_the_examples_run(scripted: None, name: str) -> None:
    answers = load_example(name).main(llamaindex_relay.RelayLLM(on_teacher_stop="continue"))
    assert answers == ["It is 186 coins."] * 2


async def test_the_agents_example_runs(scripted: None, capsys: pytest.CaptureFixture[str]) -> None:
    llm = llamaindex_relay.RelayLLM(student="vllm:./my-student", on_teacher_stop="continue")
    answer = await load_example("llamaindex_agent").main(llm, "What do 6 lamps cost?")
    assert answer == "They cost 6 * 47 = 282 coins, and there are 36."
    assert "price({'item': 'lamp'}) -> 47" in capsys.readouterr().out
