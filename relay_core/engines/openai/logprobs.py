"""Log-probabilities in an endpoint's answers: of the tokens that were sampled, and of the likeliest at their places.

Completions send parallel lists (``tokens``, ``token_logprobs``, ``top_logprobs``), chat sends one entry per token
(``content``). Endpoints without token ids may send the text of several tokens in one event; :class:`TokenTexts` cuts
it into these tokens again, so that a trigger can open a call before any of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay_core.engines.base import Token
from relay_core.engines.openai.protocol import Mode


def request_fields(mode: Mode) -> dict[str, Any]:
    """The fields of a body that ask for the likeliest token at each place."""
    return {"logprobs": 1} if mode in (Mode.IDS, Mode.COMPLETIONS) else {"logprobs": True, "top_logprobs": 1}


@dataclass(frozen=True, slots=True)
class Entry:
    """What an endpoint says of one token. ``top_logprob``: ``None`` if it does not name the likeliest token."""

    text: str
    logprob: float | None
    top_logprob: float | None


def entries(choice: Mapping[str, Any]) -> list[Entry]:
    """The entries of one choice, in order; none if it has none, or if they are malformed."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return []
    content = logprobs.get("content")
    if isinstance(content, list):
        return [_chat_entry(entry) for entry in content if isinstance(entry, Mapping)]
    texts, values, tops = (logprobs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(values, list):
        return []
    texts = texts if isinstance(texts, list) and len(texts) == len(values) else [""] * len(values)
    tops = tops if isinstance(tops, list) and len(tops) == len(values) else [None] * len(values)
    return [Entry(str(t), as_logprob(v), _highest(top, v)) for t, v, top in zip(texts, values, tops, strict=True)]


def _chat_entry(entry: Mapping[str, Any]) -> Entry:
    own, tops = as_logprob(entry.get("logprob")), entry.get("top_logprobs")
    listed = enumerate(tops) if isinstance(tops, list) else ()
    named = {i: top.get("logprob") for i, top in listed if isinstance(top, Mapping)}
    return Entry(str(entry.get("token") or ""), own, _highest(named, own))


def _highest(tops: Any, own: Any) -> float | None:
    """The log-probability of the likeliest token; the sampled one may be it without being named twice."""
    if not isinstance(tops, Mapping) or not tops:
        return None
    return max((value for value in map(as_logprob, [*tops.values(), own]) if value is not None), default=None)


def as_logprob(value: Any) -> float | None:
    """A log-probability; ``None`` for anything that cannot be one."""
    is_number = isinstance(value, float) or (type(value) is int and abs(value) < 10**6)
    return float(value) if is_number and math.isfinite(value) else None


class TokenTexts:
    """Cuts the text of one stream into tokens, by the entries that come with it.

    A character may be spread over several tokens, and its text comes with the last of them: the token then has the
    lowest ``top_logprob`` of these.
    """

    def __init__(self) -> None:
        self._waiting: list[Entry] = []

    def cut(self, token: Token, choice: Mapping[str, Any]) -> list[Token]:
        """The tokens in the text of ``token``, which is without an id; the token as it is without entries."""
        waiting = [*self._waiting, *entries(choice)]
        self._waiting = []
        text, tokens = token.text, list[Token]()
        while waiting and text:
            entry = waiting[0]
            if not entry.text or not text.startswith(entry.text) or (len(waiting) == 1 and entry.text != text):
                break  # part of a character, or not the text that was sent: all that is left is one token
            tokens.append(Token(None, entry.text, entry.logprob, top_logprob=entry.top_logprob))
            text, waiting = text[len(entry.text) :], waiting[1:]
        if text:
            tops = [entry.top_logprob for entry in waiting if entry.top_logprob is not None]
            tokens.append(token._replace(text=text, top_logprob=min(tops, default=None)))
        else:
            self._waiting = waiting
        return tokens

    def keep(self, choice: Mapping[str, Any]) -> None:
        """Keep the entries of an event without text for the next one that has some."""
        self._waiting += entries(choice)
