"""What the stream of an engine consists of: tokens, in chunks, and what they have cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from relay_core.usage import sum_or_none

_MAX_COUNT = 10**9  # the most tokens of one request that are believed


class Token(NamedTuple):
    """One sampled token.

    ``id``: ``None`` if the engine delivers text only; ``text`` may then span several tokens. ``text``: what the token
    adds to the reader's text; empty for control tokens and while a character is incomplete. ``logprob``: the natural
    log-probability before temperature, top_p and top_k; ``None`` if the engine does not report it. ``is_tool_call``:
    the text belongs to a tool call that the server has parsed; the loop passes it on unchanged, without looking for
    commands and stop strings in it. ``top_logprob``: the log-probability of the likeliest token at this place, in the
    same distribution; ``None`` unless ``Sampling.top_logprob`` requests it and the engine reports it.
    ``head_probability``: the probability that ``Sampling.head`` computes for this token; ``None`` without a head.
    """

    id: int | None
    text: str
    logprob: float | None = None
    is_tool_call: bool = False
    top_logprob: float | None = None
    head_probability: float | None = None


class Finish(StrEnum):
    """Why an engine's stream ended."""

    END = "end"  # the model's own end token
    STOP = "stop"  # one of Sampling.stop; the token that completed the string was delivered whole
    LENGTH = "length"  # Sampling.max_tokens or the model's context was reached
    HALT = "halt"  # Sampling.halt; the token that it chose is delivered, as the last one


@dataclass(frozen=True, slots=True)
class EngineUsage:
    """The tokens that one request used. ``None`` means that the count is not reported; it never means zero."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None

    def believable(self) -> EngineUsage:
        """A copy in which impossible counts are ``None``: anything except a whole number from 0 to a billion, and more
        cached tokens than were read."""
        prompt_tokens, cached_tokens = _count(self.prompt_tokens), _count(self.cached_tokens)
        if cached_tokens is not None and prompt_tokens is not None and cached_tokens > prompt_tokens:
            cached_tokens = None
        return EngineUsage(prompt_tokens, cached_tokens, _count(self.completion_tokens))


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


@dataclass(slots=True)
class Waste:
    """Wasted work, as reported by the engines.

    ``requests``: requests of which no token was used. ``prompt_tokens``: the tokens that those requests read.
    ``cached_tokens``: how many of these were cached; ``None`` if an engine did not report it. ``tokens``: the tokens
    that those requests wrote, and unused tokens of other requests.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = 0
    tokens: int = 0

    def add(self, prompt_tokens: int | None, cached_tokens: int | None, tokens: int) -> None:
        """Count one more request of which no token was used."""
        self.requests += 1
        self.prompt_tokens += prompt_tokens or 0
        self.cached_tokens = sum_or_none(self.cached_tokens, cached_tokens)
        self.tokens += tokens

    def merge(self, other: Waste) -> None:
        """Add everything that ``other`` counted."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens = sum_or_none(self.cached_tokens, other.cached_tokens)
        self.tokens += other.tokens


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some tokens, in order. ``usage``, ``notes`` and ``waste`` describe the whole stream so far.

    ``finish``: set only on the last chunk. ``ending``: why the stream will end if no further tokens arrive; an engine
    sets it when all tokens have probably arrived and only the last chunk, with the usage, is missing. ``end_token``:
    the model's end token, if ``finish`` is END and the engine delivers ids; it is not in ``tokens``. ``usage``: tokens
    used. ``notes``: remarks for reports, such as ``{"approximate": …}``; the loop adds up integers over an answer.
    ``waste``: the waste of the stream, such as a request that lost against its hedge.
    """

    tokens: Sequence[Token] = ()
    finish: Finish | None = None
    end_token: Token | None = None
    usage: EngineUsage | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    waste: Waste | None = None
    ending: Finish | None = None
