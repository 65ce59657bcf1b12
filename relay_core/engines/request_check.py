"""Checks of a request before it is submitted to an engine.

Engines batch requests. An invalid value in one request (a token id beyond the embedding, or a seed that no generator
accepts) would otherwise make a whole step fail, and every request of that step with it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from relay_core.constraint import Kind, check_value
from relay_core.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from relay_core.engines.sampling import Sampling

SEEDS = 2**63  # seeds are below this number: torch's and vLLM's generators take signed 64-bit numbers
MAX_BIAS = 100  # the largest bias of a token's logit, as in the OpenAI protocol and in vLLM
GREEDY_BELOW = 1e-5  # temperatures below this number mean greedy decoding, as in vLLM


def check_sampling(sampling: Sampling) -> None:
    """Check every value of ``sampling``.

    Raises:
        ConfigurationError: a value has the wrong type or is outside its range.
    """
    s = sampling
    if not _is_whole(s.max_tokens) or s.max_tokens < 1:
        raise _error("max_tokens", s.max_tokens, "a whole number, 1 or more")
    if not _is_finite(s.temperature) or s.temperature < 0:
        raise _error("temperature", s.temperature, "a finite number, 0 (greedy) or more")
    if not _is_finite(s.top_p) or not 0 < s.top_p <= 1:
        raise _error("top_p", s.top_p, "a number above 0 and at most 1 (off)")
    if s.top_k is not None and (not _is_whole(s.top_k) or s.top_k < 1):
        raise _error("top_k", s.top_k, "a whole number, 1 or more, or None (off)")
    if s.seed is not None and (not _is_whole(s.seed) or not 0 <= s.seed < SEEDS):
        raise _error("seed", s.seed, "a whole number from 0 to 2**63 - 1, or None")
    if not isinstance(s.stop, tuple) or not all(isinstance(string, str) and string for string in s.stop):
        raise _error("stop", s.stop, "a tuple of strings that are not empty")
    if s.logit_bias is not None and not _is_bias(s.logit_bias):
        raise _error("logit_bias", s.logit_bias, f"a mapping of token ids to numbers from -{MAX_BIAS} to {MAX_BIAS}")
    _check_constraint(s)


def _check_constraint(sampling: Sampling) -> None:
    values = {kind: value for kind in Kind if (value := getattr(sampling, kind)) is not None}
    for kind, value in values.items():
        check_value(kind, value)
    if len(values) > 1:
        raise ConfigurationError(f"{' and '.join(values)} exclude each other: write one of them")
    if not isinstance(sampling.begun, str) or (sampling.begun and not values):
        raise _error("begun", sampling.begun, "the beginning of a constrained text, or leave it out")


def checked_ids(ids: Sequence[int], vocabulary_size: int | None) -> list[int]:
    """A prompt's token ids, as a list of Python integers.

    Args:
        ids: the prompt.
        vocabulary_size: the number of rows of the model's embedding; ``None`` if it is unknown.

    Raises:
        EngineError: there are no ids, or one of them is not a token of the model.
    """
    try:
        checked = array("q", ids).tolist()
    except (TypeError, OverflowError) as error:
        raise EngineError(f"the prompt's token ids are not all whole numbers of a vocabulary: {error}") from error
    if not checked:
        raise EngineError("the prompt has no tokens")
    lowest, highest = min(checked), max(checked)
    if lowest < 0:
        raise EngineError(f"the prompt has the token id {lowest}: ids are 0 or more")
    if vocabulary_size is not None and highest >= vocabulary_size:
        raise EngineError(
            f"the prompt has the token id {highest}: the model's ids are below {vocabulary_size}. If tokens were added "
            "to the tokenizer, call model.resize_token_embeddings(len(tokenizer)), and save the model again"
        )
    return checked


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that is too large for a float
        return False


def _is_bias(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        _is_whole(token_id) and token_id >= 0 and _is_finite(bias) and abs(bias) <= MAX_BIAS
        for token_id, bias in value.items()
    )


def _error(name: str, value: Any, accepted: str) -> ConfigurationError:
    shown = repr(value) if not _is_whole(value) or abs(value) < 10**40 else "a number of more than 40 digits"
    return ConfigurationError(f"{name} is {shown}: write {accepted}")
