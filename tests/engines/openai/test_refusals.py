"""What is concluded from a refusal: overflows in the words of each server, and fields that are left out."""
# ruff: noqa: E501 (a server's message stands on one line)

from __future__ import annotations

import json
from typing import Any

import pytest

from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.overflow import Excess, Overflow, read_overflow
from relay_core.engines.openai.refusals import Adjustments, FieldsRefused, message_of, refused_fields
from relay_core.errors import ContextOverflow, EngineError
from testing.loopback import Answer, Request, chat_endpoint, http_response, loopback, words
from testing.streams import collect, text_of

PROMPT, TOGETHER, MAX_TOKENS = Excess.PROMPT, Excess.TOGETHER, Excess.MAX_TOKENS

OVERFLOWS = [
    ("OpenAI", "This model's maximum context length is 4097 tokens. However, you requested 4159 tokens (59 in the messages, 4100 in the completion). Please reduce the length of the messages or completion.", TOGETHER, 4038),
    ("OpenAI tools", "This model's maximum context length is 4097 tokens. However, you requested 4159 tokens (49 in the messages, 10 in the functions, and 4100 in the completion).", TOGETHER, 4048),
    ("OpenAI text", "This model's maximum context length is 4097 tokens, however you requested 5000 tokens (1000 in your prompt; 4000 for the completion). Please reduce your prompt; or completion length.", TOGETHER, 3097),
    ("OpenAI prompt", "This model's maximum context length is 128000 tokens. However, your messages resulted in 204308 tokens. Please reduce the length of the messages.", PROMPT, None),
    ("OpenAI code", "Your input exceeds the context window of this model. Please adjust your input and try again. (context_length_exceeded)", PROMPT, None),
    ("OpenAI cap", "max_tokens is too large: 5000. This model supports at most 4096 completion tokens, whereas you provided 5000.", MAX_TOKENS, 4096),
    ("vLLM", "'max_tokens' or 'max_completion_tokens' is too large: 4000. This model's maximum context length is 4096 tokens and your request has 1000 input tokens (4000 > 4096 - 1000).", TOGETHER, 3096),
    ("vLLM new", "This model's maximum context length is 512 tokens. However, you requested 500 output tokens and your prompt contains at least 13 input tokens, for a total of at least 513 tokens.", TOGETHER, 499),
    ("vLLM prompt", "This model's maximum context length is 512 tokens. However, your prompt contains 600 input tokens, which exceeds this limit even without any output tokens.", PROMPT, None),
    ("vLLM characters", "This model's maximum context length is 512 tokens. However, your prompt contains 90000 characters (more than 65536 characters, which is the upper bound for 512 input tokens).", PROMPT, None),
    ("vLLM request", "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens. Please reduce the length of the input messages.", PROMPT, None),
    ("vLLM passed", "You passed 4097 input tokens and requested 0 output tokens. However, the model's context length is only 4096 tokens.", PROMPT, None),
    ("vLLM derived", "max_tokens must be at least 1, got -500.", PROMPT, None),
    ("vLLM length", "Input length (600) exceeds model's maximum context length (512).", PROMPT, None),
    ("SGLang", "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000 tokens: 1000 tokens from the input messages and 4000 tokens for the completion.", TOGETHER, 3096),
    ("SGLang prompt", "The input (9000 tokens) is longer than the model's context length (8192 tokens).", PROMPT, None),
    ("Anthropic", "prompt is too long: 208310 tokens > 200000 maximum", PROMPT, None),
    ("Anthropic both", "input length and `max_tokens` exceed context limit: 198000 + 20000 > 200000, decrease input length or `max_tokens` and try again", TOGETHER, 2000),
    ("Anthropic cap", "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude-3-5-sonnet", MAX_TOKENS, 8192),
    ("TGI", "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 1000 `inputs` tokens and 4000 `max_new_tokens`", TOGETHER, 3096),
    ("TGI prompt", "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", PROMPT, None),
    ("Together", "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 7000 `inputs` tokens and 2048 `max_new_tokens`", TOGETHER, 1193),
    ("Gemini", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", PROMPT, None),
    ("Gemini old", "The input token count exceeds the maximum number of tokens allowed: too many tokens", TOGETHER, None),
    ("Bedrock", "Input is too long for requested model.", PROMPT, None),
    ("Bedrock cap", "The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum tokens value that is lower than 4096.", MAX_TOKENS, 4096),
    ("xAI", "This model's maximum prompt length is 131072 but the request contains 200000 tokens.", PROMPT, None),
    ("llama.cpp", "the request exceeds the available context size. try increasing the context size or enable context shift", PROMPT, None),
    ("llama.cpp new", "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it (exceed_context_size_error)", PROMPT, None),
    ("llama-cpp-python", "Requested tokens (600) exceed context window of 512", PROMPT, None),
    ("LM Studio", "The number of tokens to keep from the initial prompt is greater than the context length.", PROMPT, None),
    ("Mistral", "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", PROMPT, None),
    ("OpenRouter", "This endpoint's maximum context length is 4096 tokens. However, you requested about 5000 tokens (1000 of text input, 4000 in the output). Please reduce the length of either one.", TOGETHER, 3096),
    ("Groq", "Please reduce the length of the messages or completion. (context_length_exceeded)", TOGETHER, None),
    ("Groq cap", "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model", MAX_TOKENS, 8192),
    ("DeepSeek", "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", MAX_TOKENS, 8192),
    ("Qwen", "Range of max_tokens should be [1, 8192]", MAX_TOKENS, 8192),
    ("Qwen prompt", "Range of input length should be [1, 30720]", PROMPT, None),
    ("Fireworks", "The prompt is too long: 5000, model maximum context length: 4096", PROMPT, None),
    ("no room", "This model's maximum context length is 100 tokens. However, you requested 240 tokens (140 in the messages, 100 in the completion).", PROMPT, None),
    ("commas", "This model's maximum context length is 4,097 tokens. However, you requested 4,159 tokens (59 in the messages, 4,100 in the completion).", TOGETHER, 4038),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "excess", "fits"), [row[1:] for row in OVERFLOWS], ids=[row[0] for row in OVERFLOWS]
)
def test_overflows_are_recognised_in_the_words_of_each_server(message: str, excess: Excess, fits: int | None) -> None:
    assert read_overflow(message) == Overflow(excess, fits)


@pytest.mark.parametrize(
    "message",
    ["", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
     "max_tokens must be an integer", "Extra inputs are not permitted", "temperature must be less than or equal to 2"],
)  # fmt: skip
def test_other_refusals_are_no_overflow(message: str) -> None:
    assert read_overflow(message) is None


def test_overflows_are_looked_for_in_linear_time() -> None:
    for word in ("context length is 1 tokens ", "max_tokens ", "input ", "1,", "prompt exceeds "):
        read_overflow(word * 200_000)


REFUSALS: list[tuple[str, Any, list[str]]] = [
    ("OpenAI", {"error": {"message": "Unsupported parameter: 'temperature' is not supported with this model.", "param": "temperature", "code": "unsupported_parameter"}}, ["temperature"]),
    ("OpenAI value", {"error": {"message": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.", "param": "temperature"}}, ["temperature"]),
    ("OpenAI limit", {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "param": "max_tokens"}}, ["max_tokens"]),
    ("OpenAI limit, no param", {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."}}, ["max_tokens"]),
    ("OpenAI old", {"error": {"message": "Unrecognized request argument supplied: top_k", "param": None}}, ["top_k"]),
    ("Azure", {"error": {"message": "Unrecognized request arguments supplied: seed, top_k"}}, ["seed", "top_k"]),
    ("pydantic", {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted", "input": 5}]}, ["top_k"]),
    ("pydantic v1", {"detail": [{"loc": ["body", "seed"], "msg": "extra fields not permitted", "type": "value_error.extra"}]}, ["seed"]),
    ("Mistral", {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]}}, ["top_k"]),
    ("pydantic, nested", {"detail": [{"loc": ["body", "messages", 0, "content", "stop"], "msg": "x", "input": "temperature"}]}, []),
    ("pydantic, other", {"detail": [{"loc": ["body", "model"], "msg": "x", "input": {"temperature": 0, "seed": 1}}]}, []),
    ("TGI", {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0", "error_type": "validation"}, ["top_p"]),
    ("TGI temperature", {"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"}, ["temperature"]),
    ("Anthropic", {"type": "error", "error": {"type": "invalid_request_error", "message": "`temperature` and `top_p` cannot both be specified for this model. Please use only one."}}, ["top_p", "temperature"]),
    ("Anthropic extra", {"error": {"message": "top_k: Extra inputs are not permitted"}}, ["top_k"]),
    ("Groq", {"error": {"message": "property 'top_k' is unsupported, did you mean 'top_p'?"}}, ["top_k"]),
    ("Gemini", {"error": {"message": "Invalid JSON payload received. Unknown name \"top_k\": Cannot find field."}}, ["top_k"]),
    ("Gemini camel", {"error": {"message": "topK is not supported by this model"}}, ["top_k"]),
    ("Bedrock", {"message": "Malformed input request: #: extraneous key [top_k] is not permitted, please reformat your input and try again."}, ["top_k"]),
    ("xAI", {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: stop"}, ["stop"]),
    ("Fireworks", {"error": {"message": "Extra inputs are not permitted, field: 'top_k', value: 5"}}, ["top_k"]),
    ("litellm", {"error": {"message": "litellm.UnsupportedParamsError: gpt-5 models don't support temperature=0.84. Only temperature=1 is supported."}}, ["temperature"]),
    ("stream options", {"error": {"message": "Unknown parameter: 'stream_options'.", "param": "stream_options"}}, ["stream_options"]),
    ("other", {"error": {"message": "'messages' must contain the word 'json' in some form, seed", "param": "messages"}}, []),
    ("a text", "the model is not ready", []),
    ("nothing", None, []),
    ("ring of lists", [[[[[[[[[[{"loc": ["seed"]}]]]]]]]]]], []),
]  # fmt: skip


@pytest.mark.parametrize(("body", "fields"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_refused_fields_are_read_from_every_shape(body: Any, fields: list[str]) -> None:
    assert refused_fields(message_of(body), body) == fields


def test_each_field_is_left_out_once_and_remembered() -> None:
    adjustments = Adjustments()
    body = {"model": "m", "max_tokens": 4, "temperature": 0.0, "top_p": 0.9, "seed": 1}
    for field in ("seed", "top_p"):
        changed = adjustments.after(FieldsRefused(f"Unsupported parameter: {field}", [field], status=400), body)
        assert changed is not None and field not in changed
        body = changed
    assert adjustments.after(FieldsRefused("seed", ["seed"], status=400), body) is None, "it was not sent"
    assert adjustments.apply({"max_tokens": 4, "temperature": 1, "seed": 2}) == {"max_tokens": 4, "temperature": 1}
    adjustments.after(FieldsRefused("`temperature` must be strictly positive", ["temperature"], status=422), body)
    assert "temperature" in adjustments.apply({"temperature": 0.7}), "another value may be accepted"
    assert "temperature" not in adjustments.apply({"temperature": 0.0})


def test_a_limit_gets_its_other_name_and_a_minimum() -> None:
    adjustments = Adjustments()
    refusal = FieldsRefused("'max_tokens' is not supported. Use 'max_completion_tokens'", ["max_tokens"], status=400)
    assert adjustments.after(refusal, {"max_tokens": 4}) == {"max_completion_tokens": 4}
    assert adjustments.apply({"max_tokens": 5}) == {"max_completion_tokens": 5}
    again = FieldsRefused("unsupported", ["max_completion_tokens"], status=400)
    assert adjustments.after(again, {"max_completion_tokens": 4}) is None, "not back and forth"
    few = FieldsRefused("Invalid 'max_tokens': expected a value >= 16, but got 1", ["max_tokens"], status=400)
    assert Adjustments().after(few, {"max_tokens": 1}) == {"max_tokens": 16}


# -- on an endpoint ------------------------------------------------------------------------------------------------

QUESTION = Prompt("", None, [{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    ("refuses", "left_out"),
    [({"temperature"}, "temperature"), ({"top_p"}, "top_p"), ({"seed", "top_k"}, "seed, top_k"),
     ({"stream_options"}, None), ({"temperature", "top_p", "seed", "top_k"}, "temperature, top_p, seed, top_k")],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 422])
async def test_what_is_refused_by_name_is_left_out_once_and_said(
    refuses: set[str], left_out: str | None, status: int
) -> None:
    def stream(request: Request) -> Answer:
        for name in request.json:
            if name in refuses:
                error = {"detail": [{"loc": ["body", name], "msg": "Extra inputs are not permitted"}]}
                return http_response(json.dumps(error), status)
        return words("yes")

    async with loopback(chat_endpoint(stream)) as server:
        engine = OpenAIEngine("m", server.url, api_key="k", retries=0)
        sampling = Sampling(4, temperature=0.5, top_p=0.9, top_k=5, seed=1)
        for _ in range(2):
            tokens, last = await collect(engine, QUESTION, sampling)
            assert text_of(tokens) == "yes"
            assert last.notes.get("left_out") == (left_out and f"the endpoint refuses {left_out}")
        before = len(server.requests)
        await collect(engine, QUESTION, sampling)
        assert len(server.requests) == before + 1, "it is remembered"
        await engine.aclose()


async def test_a_refused_pair_loses_top_p() -> None:
    def stream(request: Request) -> Answer:
        if {"temperature", "top_p"} <= set(request.json):
            text = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
            return http_response(json.dumps({"error": {"message": text}}), 400)
        return words("yes")

    async with loopback(chat_endpoint(stream)) as server:
        engine = OpenAIEngine("m", server.url, api_key="k", retries=0)
        await collect(engine, QUESTION, Sampling(4, temperature=0.0))
        assert not any("top_p" in request.json for request in server.requests), "1 is what no top_p means"
        assert server.requests[-1].json["temperature"] == 0
        _, last = await collect(engine, QUESTION, Sampling(4, temperature=0.5, top_p=0.9))
        assert last.notes["left_out"] == "the endpoint refuses top_p"
        await engine.aclose()


def overflowing(message: str, most: int) -> Any:
    def stream(request: Request) -> Answer:
        if request.json["max_tokens"] > most:
            return http_response(json.dumps({"error": {"message": message}}), 400)
        return words("yes")

    return chat_endpoint(stream)


async def test_a_prompt_that_fits_is_asked_again_with_what_fits() -> None:
    message = next(row[1] for row in OVERFLOWS if row[0] == "vLLM")
    async with loopback(overflowing(message, 3096)) as server:
        engine = OpenAIEngine("m", server.url, api_key="k", retries=0)
        tokens, last = await collect(engine, QUESTION, Sampling(4000))
        assert text_of(tokens) == "yes"
        assert last.notes["max_tokens"] == "4000 tokens do not fit: 3096 were asked for"
        await engine.aclose()


async def test_where_nothing_is_known_the_error_names_max_tokens() -> None:
    async with loopback(overflowing("Please reduce the length of the messages or completion.", 10)) as server:
        engine = OpenAIEngine("m", server.url, api_key="k", retries=0)
        with pytest.raises(EngineError, match=r"max_tokens \(4000\) are too long together: lower max_tokens="):
            await collect(engine, QUESTION, Sampling(4000))
        await engine.aclose()


async def test_a_prompt_that_does_not_fit_is_an_overflow() -> None:
    async with loopback(overflowing("prompt is too long: 208310 tokens > 200000 maximum", 2)) as server:
        engine = OpenAIEngine("m", server.url, api_key="k", retries=0)
        with pytest.raises(ContextOverflow, match="the prompt is too long"):
            await collect(engine, QUESTION, Sampling(4000))
        await engine.aclose()
