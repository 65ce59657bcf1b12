"""Tokens are counted as the student counts them, without the network."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages

from langchain_relay import ChatRelay
from relay_core import ConfigurationError, ScriptedEngine
from relay_core.tokenizer import Tokenizer
from testing.templates import tokenizer_of

MESSAGES: list[BaseMessage] = [
    SystemMessage("You are a clerk."),
    HumanMessage("Sam wants a pen. A pen costs 62 coins."),
    AIMessage("Sam wants a pen."),
    HumanMessage("What does Sam pay?"),
]
STOCK = {"name": "stock", "description": "How many there are.", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def chat(tiny: Tokenizer) -> ChatRelay:
    return ChatRelay(student=ScriptedEngine("yes", tiny), teacher=None)


def test_messages_are_counted_as_the_student_reads_them(chat: ChatRelay) -> None:
    read = chat.invoke(MESSAGES).usage_metadata
    assert read is not None
    assert chat.get_num_tokens_from_messages(MESSAGES) == read["input_tokens"]
    with_tools = chat.bind_tools([STOCK]).invoke(MESSAGES)
    assert chat.get_num_tokens_from_messages(MESSAGES, tools=[STOCK]) == with_tools.usage_metadata["input_tokens"]


def test_text_is_counted_in_the_students_vocabulary(chat: ChatRelay, tiny: Tokenizer) -> None:
    text = "A pen costs 62 coins. <|im_end|>"
    assert tiny.decode(chat.get_token_ids(text)) == text
    assert chat.get_num_tokens(text) == len(chat.get_token_ids(text)) > len(tiny.encode(text))


def test_the_bundled_student_is_counted_with_before_it_has_answered() -> None:
    chat = ChatRelay(student="bundled:student-base", teacher=None)
    assert chat.get_num_tokens_from_messages(MESSAGES) > chat.get_num_tokens(str(MESSAGES[1].content)) > 8


async def test_within_a_running_loop(chat: ChatRelay) -> None:
    assert chat.get_num_tokens("A pen costs 62 coins.") > 4


def test_trimming_counts_with_it(chat: ChatRelay) -> None:
    count = chat.get_num_tokens_from_messages
    for most in range(count(MESSAGES) + 1):
        kept = trim_messages(MESSAGES, max_tokens=most, token_counter=chat)
        assert not kept or count(kept) <= most
    assert trim_messages(MESSAGES, max_tokens=count(MESSAGES), token_counter=chat) == MESSAGES


def test_a_part_of_a_conversation_is_counted_too(chat: ChatRelay) -> None:
    assert chat.get_num_tokens_from_messages([]) == 0
    assert chat.get_num_tokens_from_messages([ToolMessage("twelve pieces", tool_call_id="1")]) > 3


def test_a_counter_of_ones_own_is_used(tiny: Tokenizer) -> None:
    def characters(text: str) -> list[int]:
        return list(range(len(text)))

    chat = ChatRelay(student=ScriptedEngine("yes", tiny), teacher=None, custom_get_token_ids=characters)
    assert chat.get_num_tokens("four") == 4
    assert chat.get_num_tokens_from_messages([HumanMessage("four")]) == len("Human: four")


def test_where_only_the_endpoint_knows_it_is_said(scripted: Any) -> None:
    chat = ChatRelay(student=ScriptedEngine("yes", tokenizer=None), teacher=None)
    with pytest.raises(ConfigurationError, match="custom_get_token_ids="):
        chat.get_num_tokens("four")


def test_the_profile_has_the_smaller_window(tiny: Tokenizer) -> None:
    student, teacher = ScriptedEngine("yes", tiny, context_length=64), ScriptedEngine("yes", tiny, context_length=48)
    assert (ChatRelay(student=student, teacher=teacher).profile or {})["max_input_tokens"] == 48
    assert (ChatRelay(student=student, teacher=None).profile or {})["max_input_tokens"] == 64
    unknown = ChatRelay(student="openai:m@http://localhost:1/v1", teacher=None).profile or {}
    assert "max_input_tokens" not in unknown
    assert unknown["image_inputs"] is False


def test_middleware_shortens_a_history_that_is_too_long(tiny: Tokenizer) -> None:
    student = ScriptedEngine("So.", tiny, context_length=4000, record=True)
    chat = ChatRelay(student=student, teacher=None, max_tokens=20)
    shorten = SummarizationMiddleware(model=chat, trigger=("fraction", 0.1), keep=("messages", 1))
    turns: list[BaseMessage] = [HumanMessage("Sam has a pen. " * 20) for _ in range(6)]
    state = create_agent(chat, [], middleware=[shorten]).invoke({"messages": [*turns, HumanMessage("And now?")]})
    assert len(state["messages"]) == 3  # the summary, the question, the answer
    summarised, answered = (prompt.text for prompt, _ in student.requests)
    assert summarised.count("Sam has a pen.") > 20 > answered.count("Sam has a pen.")


def test_the_profile_of_a_bundled_student_has_no_tools(tiny: Tokenizer) -> None:
    bundled = ChatRelay().profile or {}
    assert (bundled["tool_calling"], bundled["tool_choice"]) == (False, False)
    own = ChatRelay(student=ScriptedEngine("a", tiny)).profile or {}
    assert (own["tool_calling"], own["tool_choice"]) == (True, True)


def test_the_profile_of_a_student_whose_template_knows_no_tools_has_them(recwarn: pytest.WarningsRecorder) -> None:
    student = ScriptedEngine("a", tokenizer_of("smollm2"))
    assert student.tokenizer is not None
    assert (ChatRelay(student=student).profile or {})["tool_calling"] is True
    assert not [warning for warning in recwarn if "model profile" in str(warning.message)]
    assert student.describe()["tools"] == "as text in the messages"


def test_usage_by_model_is_under_the_name_of_both(tiny: Tokenizer) -> None:
    student, teacher = ScriptedEngine(["a <call>3</call>", "c"], tiny), ScriptedEngine("b", tiny)
    student.spec, teacher.spec = "small", "large"
    chat = ChatRelay(student=student, teacher=teacher)
    with get_usage_metadata_callback() as usage:
        message = chat.invoke("?")
        assert chat.invoke("?", teacher=None).response_metadata["model_name"] == "small"
        assert list(chat.stream("?"))[-1].response_metadata["model_name"] == "small + large"
    assert list(usage.usage_metadata) == ["small + large", "small"]
    assert message.response_metadata["model_name"] == "small + large"
    assert chat._get_ls_params()["ls_model_name"] == "small + large"
    assert chat._get_ls_params(teacher=None)["ls_model_name"] == "small"
