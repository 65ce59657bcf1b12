"""Scoring a text that is given: what a model makes of each of its tokens.

:class:`~relay_core.engines.transformers.TransformersEngine` reads a text in one forward pass (``reading.py``). vLLM
reports the log-probabilities of a prompt instead, in this process and as a server; so the text is sent as a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model makes of T tokens; natural logarithms.

    ``logprobs``: of the tokens, T values. ``top_logprobs``: of the likeliest token at each place, T values.
    ``end_gap``: by how much the end token is less likely than the likeliest token behind the text; ``inf`` if the model
    has no end token.
    """

    logprobs: Sequence[float]
    top_logprobs: Sequence[float]
    end_gap: float


@runtime_checkable
class Scorer(Protocol):
    """An engine that scores a text."""

    async def scores(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Scores:
        """What the model makes of each of ``ids`` behind a prompt.

        Raises:
            ConfigurationError: the engine's server does not report it.
            ContextOverflow: the text is longer than the model's context.
            EngineError: the engine failed.
        """
        ...


def text_to_score(prompt_ids: Sequence[int], ids: Sequence[int], end_id: int | None) -> list[int]:
    """The prompt to send, whose log-probabilities :func:`from_prompt` reads: the text, and the end token behind it."""
    return [*prompt_ids, *ids, *([] if end_id is None else [end_id])]


def from_prompt(places: Sequence[Mapping[int, float] | None], ids: Sequence[int], end_id: int | None) -> Scores:
    """Scores from the log-probabilities of a prompt.

    Args:
        places: for each token of the prompt, the log-probabilities of this token and of the likeliest one there, by id.
        ids: the tokens to score, the last ones of the prompt but for the end token.
        end_id: the end token, with which the prompt ends; ``None`` if it does not.
    """
    text = [*ids, *([] if end_id is None else [end_id])]
    found = [place or {} for place in places[len(places) - len(text) :]]
    own = [place[token_id] for place, token_id in zip(found, text, strict=True)]
    tops = [max(place.values()) for place in found]
    count = len(ids)
    return Scores(own[:count], tops[:count], tops[-1] - own[-1] if end_id is not None else math.inf)
