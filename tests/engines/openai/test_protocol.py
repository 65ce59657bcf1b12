"""The body of a request in each mode."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.openai.protocol import GO_ON, Dialect, Mode, request_body
from relay_core.errors import ConfigurationError

PROMPT = Prompt("<user>Hi", [1, 2], [{"role": "user", "content": "Hi"}], "So far")


def body(dialect: Dialect, sampling: Sampling | None = None, prompt: Prompt = PROMPT, **so_far: Any) -> dict[str, Any]:
    sampling = sampling or Sampling(7)
    return request_body(
        "m", dialect, prompt, sampling, **{"ids": [], "text": "", "left": sampling.max_tokens, **so_far}
    )


def test_ids_are_sent_unchanged_and_requested_back() -> None:
    sent = body(Dialect(Mode.IDS), Sampling(7, 0.5, 0.9, 40, 3, ("</call>",)), ids=[8, 9], left=5)
    assert sent["prompt"] == [1, 2, 8, 9]
    assert sent["max_tokens"] == 5
    assert sent["return_token_ids"] is True
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.5, 0.9, 40)
    assert (sent["stop"], sent["include_stop_str_in_output"]) == (["</call>"], True)
    assert sent["seed"] == 5, "resumed after 2 tokens, the request draws other numbers than the first one"


def test_no_field_is_left_to_the_models_generation_config() -> None:
    sent = body(Dialect(Mode.IDS))
    assert (sent["top_p"], sent["top_k"], sent["min_p"], sent["repetition_penalty"]) == (1.0, 0, 0.0, 1.0)


@pytest.mark.parametrize("mode", Mode)
def test_a_bias_is_sent_in_every_mode(mode: Mode) -> None:
    assert "logit_bias" not in body(Dialect(mode))
    assert body(Dialect(mode), Sampling(7, logit_bias={27: -1.5}))["logit_bias"] == {"27": -1.5}


def test_text_is_resumed_after_the_text_so_far() -> None:
    assert body(Dialect(Mode.COMPLETIONS), text=" world")["prompt"] == "<user>Hi world"


def test_a_bos_token_that_the_endpoint_adds_is_not_sent_too() -> None:
    assert body(Dialect(Mode.COMPLETIONS, own_bos="<user>"), text=" world")["prompt"] == "Hi world"
    assert body(Dialect(Mode.COMPLETIONS, own_bos="<s>"))["prompt"] == "<user>Hi"


def test_chat_continues_a_trailing_message() -> None:
    dialect = Dialect(Mode.CHAT_CONTINUE, {"continue_final_message": True}, {"prefix": True})
    sent = body(dialect, text=" and on")
    assert sent["messages"][-1] == {"role": "assistant", "content": "So far and on", "prefix": True}
    assert sent["continue_final_message"] is True


def test_plain_chat_is_asked_in_words_to_go_on() -> None:
    sent = body(Dialect(Mode.CHAT, limit_name="max_completion_tokens"))
    assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][-1]["content"] == GO_ON
    assert sent["max_completion_tokens"] == 7


@pytest.mark.parametrize("mode", [Mode.CHAT, Mode.CHAT_CONTINUE])
def test_without_a_continuation_the_request_is_a_plain_question(mode: Mode) -> None:
    sent = body(Dialect(mode, {"continue_final_message": True}), prompt=Prompt("", None, PROMPT.messages))
    assert sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert "continue_final_message" not in sent


@pytest.mark.parametrize("mode", [Mode.CHAT, Mode.CHAT_CONTINUE])
@pytest.mark.parametrize(
    ("arguments", "sent_as"),
    [({"a": "ä"}, '{"a": "ä"}'), ('{"a": 1}', '{"a": 1}'), ('{"a": ', '{"a": '), (None, "{}"), ({}, "{}")],
)
def test_the_arguments_of_earlier_tool_calls_are_sent_as_text(mode: Mode, arguments: Any, sent_as: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    messages = [*PROMPT.messages, {"role": "assistant", "content": "", "tool_calls": [call]}]
    sent = body(Dialect(mode), prompt=Prompt("", None, messages))["messages"][-1]
    function = {"name": "add", "arguments": sent_as}
    assert sent["tool_calls"] == [{"id": "c1", "type": "function", "function": function}]
    assert call["function"]["arguments"] == arguments, "the caller's message is as it was"


def test_other_constraints_are_sent_in_mode_ids_and_refused_in_others() -> None:
    assert body(Dialect(Mode.IDS), Sampling(7, regex="a+"))["structured_outputs"] == {"regex": "a+"}
    assert body(Dialect(Mode.IDS), Sampling(7, choice=("a", "b")))["structured_outputs"] == {"choice": ["a", "b"]}
    for mode in (Mode.COMPLETIONS, Mode.CHAT_CONTINUE, Mode.CHAT):
        with pytest.raises(ConfigurationError, match=f"mode {mode} has no field for regex"):
            body(Dialect(mode), Sampling(7, regex="a+"))


def test_a_schema_is_sent_as_each_mode_takes_it() -> None:
    schema = {"type": "object", "properties": {"price": {"type": "integer"}}}
    sampling = Sampling(7, json_schema=schema)
    assert body(Dialect(Mode.IDS), sampling)["structured_outputs"] == {"json": schema}
    for mode in (Mode.CHAT_CONTINUE, Mode.CHAT):
        response_format = body(Dialect(mode), sampling)["response_format"]
        assert response_format == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        assert "response_format" not in body(Dialect(mode))
    assert "structured_outputs" not in body(Dialect(Mode.IDS))


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_text_can_be_encoded_and_sent(text: str) -> None:
    prompt = Prompt(text, None, [{"role": "user", "content": text}], text)
    for mode in (Mode.COMPLETIONS, Mode.CHAT, Mode.CHAT_CONTINUE):
        json.dumps(body(Dialect(mode), prompt=prompt), ensure_ascii=False).encode()
