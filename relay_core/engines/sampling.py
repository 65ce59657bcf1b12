"""How one request is sampled: its limits, its random draws, what it is held to, where it ends."""

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
        stop: strings in the *generated* text at which to end; the token that completes one is delivered whole.
        json_schema: a JSON schema that the text must follow.
        regex: a regular expression that the whole text must match.
        choice: texts, one of which must be written.
        tool_call: a forced tool call. At most one of these four is set, to one of the engine's ``constraints``.
        begun: the beginning of the constrained text, which the prompt already holds (``Engine.resumes_constraints``).
        top_logprob: whether each token's ``top_logprob`` is wanted.
        halt: ends the stream with the first token of which it is true; it gets the number of tokens that the request
            has written before, and the token. Engines that cannot end a stream by themselves ignore it.

    Raises:
        ConfigurationError: a value of the wrong kind or outside its range. No engine gets such a value.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None
    regex: str | None = None
    choice: tuple[str, ...] | None = None
    tool_call: ToolCall | None = None
    begun: str = ""
    top_logprob: bool = False
    halt: Callable[[int, Token], bool] | None = None

    def __post_init__(self) -> None:
        check_sampling(self)
