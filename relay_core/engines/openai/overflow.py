"""Recognises each server's message for a request that is too long.

A prompt can be too long by itself, or only together with ``max_tokens``. In the second case, the request is sent again
with a ``max_tokens`` that fits. Messages are matched in the order of the table, and their numbers are read if they
contain any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto


class Excess(Enum):
    """What is too long."""

    PROMPT = auto()  # the prompt alone
    TOGETHER = auto()  # the prompt and max_tokens, or one of the two: the message does not say which
    MAX_TOKENS = auto()  # max_tokens alone: more than the endpoint ever writes


@dataclass(frozen=True, slots=True)
class Overflow:
    """A request that is too long.

    ``excess``: what is too long. ``fits``: how many tokens may be written; ``None`` if the message does not say.
    """

    excess: Excess
    fits: int | None = None


_NUMBER = r"\d[\d,_]{0,15}"


def _row(excess: Excess, pattern: str) -> tuple[Excess, re.Pattern[str]]:
    for name in ("limit", "prompt", "cap"):
        pattern = pattern.replace(f"<{name}>", f"(?P<{name}>{_NUMBER})")
    return excess, re.compile(pattern.replace(r"\d+", r"[\d,]+").replace("...", ".{0,200}?"), re.I | re.S)


# <limit>: the context in tokens. <prompt>: the length of the prompt. <cap>: the most that the endpoint writes.
_ROWS = (
    # OpenAI, DeepSeek, FastChat, older vLLM: "... 4097 tokens. However, you requested 4159 tokens (59 in the messages,
    # 4100 in the completion)"; "(59 in your prompt; 4100 for the completion)"
    _row(Excess.TOGETHER, r"context length is <limit> tokens...requested \d+ tokens \(<prompt> (in|of)...completion"),
    # vLLM: "... However, you requested 4000 output tokens and your prompt contains at least 1000 input tokens"
    _row(Excess.TOGETHER, r"context length is <limit> tokens...\d+ output tokens and your prompt contains...<prompt>"),
    # vLLM: "'max_tokens' ... is too large: 4000. This model's maximum context length is 4096 tokens and your request
    # has 1000 input tokens"
    _row(Excess.TOGETHER, r"max_tokens...too large...context length is <limit> tokens...has <prompt> input"),
    # SGLang: "exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000 tokens: 1000
    # tokens from the input messages and 4000 tokens for the completion"
    _row(Excess.TOGETHER, r"context length of <limit> tokens...total of \d+ tokens: <prompt> tokens from the input"),
    # OpenRouter: "endpoint's maximum context length is 4096 tokens. However, you requested about 5000 tokens (1000 of
    # text input, 4000 in the output)"
    _row(Excess.TOGETHER, r"context length is <limit> tokens...about \d+ tokens \(<prompt> of text input...output"),
    # TGI, Together: "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 1000 `inputs` tokens and 4000 ..."
    _row(Excess.TOGETHER, r"`?inputs`? tokens \+ `?max_new_tokens`? must be <= <limit>. Given: <prompt>"),
    # Anthropic: "input length and `max_tokens` exceed context limit: 198000 + 20000 > 200000"
    _row(Excess.TOGETHER, r"input length and `?max_tokens`? exceed context limit: <prompt> \+ \d+ > <limit>"),
    # a prompt that is too long by itself
    _row(Excess.PROMPT, r"context length is (only )?<limit> tokens...(messages|prompt) (resulted in|contains|has) "),
    _row(Excess.PROMPT, r"context length is (only )?<limit> tokens...request has (at least )?<prompt> input tokens"),
    _row(Excess.PROMPT, r"passed <prompt> input tokens and requested 0 output tokens"),  # vLLM
    _row(Excess.PROMPT, r"at least 1, got (0|-\d)"),  # vLLM, of the max_tokens that it derived
    _row(Excess.PROMPT, r"prompt is too long|prompt too long"),  # Anthropic: ": 208310 tokens > 200000 maximum"
    _row(Excess.PROMPT, r"input is too long for (the )?requested model"),  # Bedrock
    _row(Excess.PROMPT, r"(input|prompt) token count \(?<prompt>\)? exceeds the maximum"),  # Gemini: "(1200000)"
    _row(Excess.PROMPT, r"maximum prompt length is <limit>"),  # xAI: "... but the request contains 200000 tokens"
    _row(Excess.PROMPT, r"input \(<prompt> tokens\) is longer than the model's context length"),  # SGLang, Together
    _row(Excess.PROMPT, r"Input length \(?<prompt>\)? exceeds"),  # vLLM, SGLang
    _row(Excess.PROMPT, r"`?inputs`? must have less than <limit> tokens"),  # TGI: "Given: 5000"
    _row(Excess.PROMPT, r"exceeds? the available context size"),  # llama.cpp: "request (9000 tokens) exceeds ..."
    _row(Excess.PROMPT, r"exceed_context_size_error"),  # llama.cpp, its type
    _row(Excess.PROMPT, r"Prompt contains <prompt> tokens...too large for model"),  # Mistral
    _row(Excess.PROMPT, r"(greater|longer) than the (model's )?context (length|window)"),  # LM Studio, llama-cpp-python
    _row(Excess.PROMPT, r"Requested tokens \(?<prompt>\)? exceed context window"),  # llama-cpp-python
    _row(Excess.PROMPT, r"length of prompt_tokens \(<prompt>\) must be less than max_seq_len"),  # Aliyun
    _row(Excess.PROMPT, r"Range of input length should be \[1, <limit>\]"),  # Qwen's API
    _row(Excess.PROMPT, r"(prompt|input)...(exceeds|is longer than)[\w' ]{0,40}context (window|length|limit|size)"),
    # more than the endpoint ever writes
    _row(Excess.MAX_TOKENS, r"tokens is too large: \d+. This model supports at most <cap>"),  # OpenAI
    _row(Excess.MAX_TOKENS, r"max_tokens`?: \d+ > <cap>, which is the maximum"),  # Anthropic
    _row(Excess.MAX_TOKENS, r"valid range of max_(completion_)?tokens is \[1, <cap>\]"),  # DeepSeek
    _row(Excess.MAX_TOKENS, r"Range of max_tokens should be \[1, <cap>\]"),  # Qwen's API
    _row(Excess.MAX_TOKENS, r"maximum tokens you requested exceeds the model limit of <cap>"),  # Bedrock
    _row(Excess.MAX_TOKENS, r"max_\w{0,11}tokens...(less than or equal to|at most|limit of) `?<cap>"),  # Groq
    # neither says by how much
    _row(Excess.TOGETHER, r"context[ _](length|size|window|limit)|maximum (model|input) length"),
    _row(Excess.TOGETHER, r"reduce the length of|too many tokens|token limit exceeded|exceeded model token limit"),
)


def read_overflow(message: str) -> Overflow | None:
    """Read a server's refusal of a request that is too long; ``None`` if the refusal has another reason."""
    message = message[:4000]
    for excess, pattern in _ROWS:
        match = pattern.search(message)
        if match is None:
            continue
        numbers = {name: int(re.sub("[,_]", "", text)) for name, text in match.groupdict().items() if text}
        if excess is Excess.MAX_TOKENS:
            return Overflow(excess, numbers["cap"] or None)
        if excess is Excess.PROMPT or "limit" not in numbers:
            return Overflow(excess)
        fits = numbers["limit"] - numbers["prompt"]
        return Overflow(excess, fits) if fits > 0 else Overflow(Excess.PROMPT)
    return None
