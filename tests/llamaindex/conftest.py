"""RelayLLMs on scripts over Qwen3's real vocabulary, the shop of the examples, and a record of what was reported."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent

from llamaindex_relay import RelayLLM
from relay_core import Relay, ScriptedEngine
from relay_core.tokenizer import Tokenizer

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MakeLLM = Callable[..., RelayLLM]


@pytest.fixture
def make_llm(qwen3: Tokenizer) -> MakeLLM:
    """``make_llm(student_script, teacher_script, **settings)``; engines record what they are asked."""

    def make(student: Any, teacher: Any = "282", *, engine: dict[str, Any] | None = None, **settings: Any) -> RelayLLM:
        options = {"record": True, **(engine or {})}
        relay = Relay(ScriptedEngine(student, qwen3, **options), ScriptedEngine(teacher, qwen3, **options))
        return RelayLLM(relay=relay, **settings)

    return make


@pytest.fixture
def llm(make_llm: MakeLLM) -> RelayLLM:
    """Says "47 * 6 = 282. Done.", the 282 by the teacher."""
    return make_llm(["47 * 6 = <call>3</call>", ". Done."])


def load_example(name: str) -> ModuleType:
    """A script of ``docs/examples``, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # scripts find their neighbours by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shop() -> ModuleType:
    """``docs/examples/llamaindex_shop.py``."""
    return load_example("llamaindex_shop")


class _Recorder(BaseEventHandler):
    events: list[Any]

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)


@pytest.fixture
def events() -> Iterator[list[BaseEvent]]:
    """Every instrumentation event of the test."""
    recorder, root = _Recorder(events=[]), get_dispatcher()
    root.add_event_handler(recorder)
    yield recorder.events
    root.event_handlers.remove(recorder)
