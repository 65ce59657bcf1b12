"""No piece of a command that a student wrote reaches a reader of either plugin, in text or in a tool's arguments."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from langchain_relay import ChatRelay
from llamaindex_relay import RelayLLM
from relay_core import Call, CommandScanner, EngineError, Relay, ScriptedEngine, Text
from relay_core.tokenizer import Tokenizer

STOCK = {"name": "stock", "description": "", "parameters": {"type": "object", "properties": {}}}
PIECE = re.compile("</?c|(?<!tool_)call>|</>")

# what a student may write within a string of a tool's arguments
COMMANDS = [
    "<call>3</call>",
    "<call> 12 </call>",
    "<call>0</call>",
    "<call>three</call>",
    "<call>8</>",
    "<call>3</call><call>4</call>",
    "<call>3</call></call>",
    "</call>",
]
REFUSED: dict[str, dict[str, Any]] = {
    "calls=False": {"calls": False},
    "max_calls=0": {"max_calls": 0},
    "no teacher": {},
    "a dead teacher": {},
}


def relay(written: str, why: str, tokenizer: Tokenizer) -> Relay:
    """A student that writes ``written``, and a teacher that never helps."""
    if why != "a dead teacher":
        return Relay(ScriptedEngine([written], tokenizer), None if why == "no teacher" else ScriptedEngine("x"))
    turns, scanner = [""], CommandScanner()
    for piece in [*scanner.feed(written), *scanner.flush()]:
        turns[-1] += piece.text if isinstance(piece, Text) else piece.source
        if isinstance(piece, Call) and piece.n:  # the teacher is called, and fails: the student goes on in a new turn
            turns.append("")
    return Relay(ScriptedEngine(turns, tokenizer), ScriptedEngine(lambda _: [EngineError("down")], tokenizer))


def tool_call(command: str) -> str:
    arguments = f'{{"item": "te{command}a", "{command}n": [1, "{command}"]}}'
    return f'Let me{command} see.\n<tool_call>\n{{"name": "stock", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_is_in_what_langchain_gets(command: str, why: str, tiny: Tokenizer) -> None:
    student = relay(tool_call(command), why, tiny)
    chat = ChatRelay(relay=student, on_teacher_error="continue", **REFUSED[why])
    for model in (chat.bind_tools([STOCK]), chat):
        message, chunks = model.invoke("How much tea?"), list(model.stream("How much tea?"))
        parts = [part["args"] for chunk in chunks for part in chunk.tool_call_chunks]
        streamed = ["".join(chunk.text for chunk in chunks), "".join(map(str, parts)), chunks[-1].model_dump()]
        assert_no_piece([message.model_dump(), *streamed])
        assert message.response_metadata["relay"]["usage"]["teacher_tokens"] == 0
    ((call,), text) = chat.bind_tools([STOCK]).invoke("How much tea?").tool_calls, message.text
    assert call["args"] == {"item": "tea", "n": [1, ""]}
    assert text.startswith("Let me see.")


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_is_in_what_llamaindex_gets(command: str, why: str, tiny: Tokenizer) -> None:
    llm = RelayLLM(relay=relay(tool_call(command), why, tiny), **REFUSED[why])
    messages = [ChatMessage(content="How much tea?")]
    for options in ({"tools": [STOCK]}, {}):
        whole, streamed = llm.chat(messages, **options), list(llm.stream_chat(messages, **options))
        deltas = "".join(response.delta or "" for response in streamed)
        assert_no_piece([whole.model_dump(), deltas, streamed[-1].model_dump()])
        assert whole.raw["relay"]["usage"]["teacher_tokens"] == 0
    (call,) = llm.get_tool_calls_from_response(llm.chat(messages, tools=[STOCK]))
    assert call.tool_kwargs == {"item": "tea", "n": [1, ""]}


def assert_no_piece(shown: list[Any]) -> None:
    """No piece of a command stands anywhere in ``shown``."""
    text = json.dumps(shown, default=repr)
    assert not PIECE.findall(text), text
