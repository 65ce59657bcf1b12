"""The OpenAI protocol as this package speaks it: the modes, an endpoint's dialect, and the body of a request.

Pure functions; nothing here opens a connection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from relay_core.constraint import Constraint, Kind
from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.grammar_text import structured_outputs
from relay_core.errors import ConfigurationError
from relay_core.unicode import repair_surrogates

GO_ON = (
    "Continue your last message exactly where it stops. Write only what comes next: repeat nothing, "
    "explain nothing, add no greeting."
)
APPROXIMATE = "the endpoint cannot continue a message; it was asked in words to go on, and may begin anew"


class Mode(StrEnum):
    """How an endpoint is made to continue a prompt, best first."""

    IDS = "ids"  # completions with token ids as input and output
    COMPLETIONS = "completions"  # completions with text as input and output
    CHAT_CONTINUE = "chat-continue"  # chat that continues a trailing assistant message
    CHAT = "chat"  # plain chat with an instruction in words to continue; approximate


USAGE = {"include_usage": True}  # requests the usage in an event at the end
RUNNING_USAGE = {**USAGE, "continuous_usage_stats": True}  # requests the usage so far in every event (vLLM)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of request that one endpoint accepts, as determined by probing.

    Args:
        mode: how the endpoint is made to continue a prompt.
        continue_with: fields of the body that request the continuation of a trailing assistant message.
        in_message: fields of the trailing message that request its continuation.
        limit_name: ``max_tokens`` or ``max_completion_tokens``.
        template_kwargs: whether the endpoint accepts ``chat_template_kwargs``.
        stream_options: the most detailed usage that the endpoint reports while streaming.
        own_bos: the BOS token that the endpoint itself puts before every text (mode ``completions``); a chat template
            often begins with it, and is then sent without it, since models read two as another text than one.
    """

    mode: Mode
    continue_with: Mapping[str, Any] = field(default_factory=dict)
    in_message: Mapping[str, Any] = field(default_factory=dict)
    limit_name: str = "max_tokens"
    template_kwargs: bool = False
    stream_options: Mapping[str, bool] = field(default_factory=lambda: USAGE)
    own_bos: str = ""

    @property
    def path(self) -> str:
        """The path of a request, below the base URL."""
        return "/completions" if self.mode in (Mode.IDS, Mode.COMPLETIONS) else "/chat/completions"


def request_body(
    model: str, dialect: Dialect, prompt: Prompt, sampling: Sampling, *, ids: Sequence[int], text: str, left: int
) -> dict[str, Any]:
    """The body of a streamed request that continues a prompt and, after a broken connection, its answer so far.

    Args:
        model: the model's name at the endpoint.
        dialect: the form of the request.
        prompt: the prompt.
        sampling: how to sample.
        ids: the token ids of the answer so far (mode ``ids``).
        text: the text of the answer so far (other modes).
        left: how many tokens may still come.

    Raises:
        ConfigurationError: the mode has no field for the request's constraint.
    """
    constraint = Constraint.of(sampling)
    if constraint is not None and dialect.mode is not Mode.IDS and constraint.kind is not Kind.JSON_SCHEMA:
        raise ConfigurationError(f"an endpoint in mode {dialect.mode} has no field for {constraint.kind}: leave it out")
    body: dict[str, Any] = {
        "model": model,
        dialect.limit_name: left,
        "temperature": sampling.temperature,
        "stream": True,
    }
    if sampling.top_p != 1:  # some endpoints refuse 1, or a top_p together with a temperature
        body["top_p"] = sampling.top_p
    if dialect.stream_options:
        body["stream_options"] = dict(dialect.stream_options)
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.logit_bias:
        body["logit_bias"] = {str(token_id): bias for token_id, bias in sampling.logit_bias.items()}
    if sampling.seed is not None:  # shifted by the tokens so far, since the same seed would repeat the same draws
        body["seed"] = (sampling.seed + sampling.max_tokens - left) % 2**31
    if dialect.mode is Mode.IDS:
        body["prompt"] = [*(prompt.token_ids or ()), *ids]
        body["return_token_ids"] = True
        # vLLM fills missing fields with the defaults of the model's generation_config.json
        body.update({"top_p": sampling.top_p, "top_k": sampling.top_k or 0, "min_p": 0.0, "repetition_penalty": 1.0})
        if sampling.stop:
            body["stop"] = list(sampling.stop)
            body["include_stop_str_in_output"] = True
        if constraint is not None:
            body["structured_outputs"] = structured_outputs(constraint)
    elif dialect.mode is Mode.COMPLETIONS:
        body["prompt"] = repair_surrogates(prompt.text.removeprefix(dialect.own_bos) + text)
    else:
        body.update(_chat_fields(dialect, prompt, prompt.continuation + text, sampling.json_schema))
    return body


def _chat_fields(
    dialect: Dialect, prompt: Prompt, continuation: str, schema: Mapping[str, Any] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {}
    messages = [_repaired(_with_argument_texts(message)) for message in prompt.messages]
    if continuation:
        messages.append({"role": "assistant", "content": repair_surrogates(continuation), **dialect.in_message})
        if dialect.mode is Mode.CHAT_CONTINUE:
            body.update(dialect.continue_with)
        else:
            messages.append({"role": "user", "content": GO_ON})
    if prompt.tools:
        body["tools"] = [dict(tool) for tool in prompt.tools]
    if dialect.template_kwargs:
        body["chat_template_kwargs"] = {"enable_thinking": prompt.enable_thinking}
    if schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": dict(schema)},
        }
    return {"messages": messages, **body}


def _with_argument_texts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message with the arguments of its tool calls as JSON text, as the protocol wants them."""
    if not message.get("tool_calls"):
        return message
    calls = []
    for call in message["tool_calls"]:
        arguments = call["function"].get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        calls.append({**call, "function": {**call["function"], "arguments": text}})
    return {**message, "tool_calls": calls}


def _repaired(value: Any) -> Any:
    """A JSON value in which every string can be encoded."""
    if isinstance(value, str):
        return repair_surrogates(value)
    if isinstance(value, Mapping):
        return {key: _repaired(item) for key, item in value.items()}
    return [_repaired(item) for item in value] if isinstance(value, (list, tuple)) else value
