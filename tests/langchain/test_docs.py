"""All code of docs/langchain.md and of the example scripts runs.

It runs on the bundled pair. Where a model must know tools, a scripted student that follows instructions stands in for
the models that the page names.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_relay import ChatRelay
from relay_core import Engine, ScriptedEngine
from relay_core.adapters import build_relay

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
PAGE = (DOCS / "langchain.md").read_text()


@pytest.fixture
def models_of_the_page(
    monkeypatch: pytest.MonkeyPatch, follower: ScriptedEngine, scripted: Callable[..., ScriptedEngine]
) -> None:
    real = build_relay.shared_engine
    named = {"vllm:./my-student": follower, "openai:Qwen/Qwen3-8B@http://localhost:8000/v1": scripted("")}

    def engine(spec: str, **options: Any) -> Engine:
        return named.get(spec) or real(spec, **options)

    monkeypatch.setattr(build_relay, "shared_engine", engine)


@pytest.mark.usefixtures("models_of_the_page")
def test_all_code_on_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/langchain.md", "exec"), names)
    printed = capsys.readouterr().out
    assert len(blocks) == PAGE.count("```python") > 7
    assert "coins" in printed
    assert "item='tea' euros=7" in printed
    assert "The tool says: 12" in printed
    assert "The tool says: 0" in printed
    assert "In stock: 12." in printed
    assert "[]" not in printed


def test_every_script_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"langchain_\w+\.py", PAGE))
    assert named == {path.name for path in EXAMPLES.glob("langchain_*.py")}


def test_the_first_script(capsys: pytest.CaptureFixture[str]) -> None:
    answer = runpy.run_path(str(EXAMPLES / "langchain_first.py"))["main"]()
    printed = capsys.readouterr().out
    assert "by the teacher, cost" in printed
    assert printed.rsplit("\n", 1)[-1].replace("[", "").replace("]", "") == answer


def test_the_context_script_answers_from_the_lists() -> None:
    main = runpy.run_path(str(EXAMPLES / "langchain_context.py"))["main"]
    questions = json.loads((EXAMPLES / "data" / "questions.json").read_text())[:5]
    right = [str(q["answer"]) in main(q["question"]) for q in questions]
    assert sum(right) >= 4


def test_the_agent_script(follower: ScriptedEngine) -> None:
    main = runpy.run_path(str(EXAMPLES / "langchain_agent.py"))["main"]
    answer = main(ChatRelay(student=follower, teacher=None), "How many of the item 'tea' are in stock?")
    assert answer == "The tool says: 12"


CHAIN = """
from langchain_openai import ChatOpenAI
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool

@tool
def stock(item: str) -> int:
    "How many of an item are in stock."
    return 12

llm = ChatOpenAI(model="vllm:./my-student", temperature=0, max_tokens=200, timeout=30, max_retries=2, api_key="key")
prompt = ChatPromptTemplate.from_messages([("system", "You keep a shop."), ("human", "{question}")])
chain = prompt | llm.bind_tools([stock])
calls = chain.invoke({"question": "How many of the item 'tea' are in stock?"}).tool_calls
results = [stock.invoke(call).content for call in calls]
"""
THEIR_IMPORT = "from langchain_openai import ChatOpenAI"
OUR_IMPORT = "from langchain_relay import ChatRelay as ChatOpenAI"


@pytest.mark.usefixtures("models_of_the_page")
def test_a_stranger_changes_one_line() -> None:
    names: dict[str, Any] = {}
    exec(CHAIN.replace(THEIR_IMPORT, OUR_IMPORT), names)
    assert names["results"] == ["12"]
