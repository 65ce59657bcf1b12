"""The sampling settings of one request: its limits, its random draws, its constraint, and where it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay_core.engines.request_check import check_sampling

if TYPE_CHECKING:
    from relay_core.constraint import ToolCall
    from relay_core.engines.base import Token


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to continue a prompt.

    Args:
        max_tokens: the most tokens to write.
        temperature: 0 is greedy.
        top_p: nucleus sampling, above 0; 1 turns it off.
        top_k: sample among the k likeliest tokens; ``None`` turns it off.
        seed: the seed of this request's random draws, below 2**63; ``None`` lets the engine choose one.
        stop: strings in the *generated* text at which to end; the token that completes a stop string is delivered
            whole.
        logit_bias: numbers that are added to the logits of some tokens of the engine's vocabulary before one is
            chosen, from -100 to 100, for engines whose ``biases_logits`` is true. Reported log-probabilities do not
            contain them.
        json_schema: a JSON schema that the text must follow.
        regex: a regular expression that the whole text must match.
        choice: texts, one of which must be written.
        tool_call: a forced tool call. At most one of these four is set, to one of the engine's ``constraints``.
        begun: the beginning of the constrained text, which the prompt already holds (``Engine.resumes_constraints``).
        top_logprob: whether each token must have its ``top_logprob``.
        processed_logprobs: whether the log-probabilities are those after the temperature, as in vLLM's mode
            ``processed_logprobs``; engines other than ``TransformersEngine`` ignore it.
        head: the folder of a head, whose probability each token must have (``Token.head_probability``); for engines
            whose ``check_head`` accepts it.
        halt: a function that is called with the number of tokens that the request has written before, and with the next
            token; the stream ends with the first token for which it returns true. If this token continues a character
            that earlier tokens began, the stream ends with the token that completes the character. Engines that cannot
            end a stream by themselves ignore it.

    Raises:
        ConfigurationError: a value has the wrong type or is outside its range. Engines never receive such values.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] | None = None
    json_schema: Mapping[str, Any] | None = None
    regex: str | None = None
    choice: tuple[str, ...] | None = None
    tool_call: ToolCall | None = None
    begun: str = ""
    top_logprob: bool = False
    processed_logprobs: bool = False
    head: str | None = None
    halt: Callable[[int, Token], bool] | None = None

    def __post_init__(self) -> None:
        check_sampling(self)
