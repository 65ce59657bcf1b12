"""Scores of a text from a server that reports the log-probabilities of a prompt, as vLLM's does (``scores.py``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relay_core.engines.openai.faults import RequestRefused
from relay_core.engines.openai.loop_client import LoopClient
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.retries import with_retries
from relay_core.engines.scores import Scores, from_prompt, text_to_score
from relay_core.errors import ConfigurationError, ContextOverflow

_UNKNOWN_FIELD = (400, 422)  # the statuses with which servers refuse a field that they do not know


def gives_no_scores(spec: str) -> ConfigurationError:
    """The error of an endpoint that does not report the log-probabilities of a prompt."""
    return ConfigurationError(
        f"{spec} cannot read a text that is given and score its tokens: that takes a vLLM server, which reports the "
        "log-probabilities of a prompt, or a model in this process (transformers:PATH, vllm:PATH)"
    )


async def prompt_scores(
    client: LoopClient, endpoint: Endpoint, model: str, spec: str, prompt_ids: Sequence[int], ids: Sequence[int]
) -> Scores:
    """Score ``ids`` behind a prompt.

    Args:
        client: sends the request.
        endpoint: what is known of the endpoint, whose mode is ``ids``.
        model: the model's name there.
        spec: the engine's spec, for errors.
        prompt_ids, ids: the text, in the model's vocabulary.

    Raises:
        ConfigurationError: the endpoint does not report the log-probabilities of a prompt.
        ContextOverflow: the text is longer than the context.
        EngineError: the endpoint failed, after the retries.
    """
    assert endpoint.tokenizer is not None
    end_id = endpoint.tokenizer.hf.eos_token_id
    text = text_to_score(prompt_ids, ids, end_id)
    if endpoint.context_length is not None and len(text) >= endpoint.context_length:
        raise ContextOverflow(f"the text has {len(text)} tokens, the model's context is {endpoint.context_length}")
    body = {"model": model, "prompt": text, "max_tokens": 1, "prompt_logprobs": 1}
    patience = client.patience
    try:
        answer = await with_retries(
            lambda: client.request(lambda: client.connection.post("/completions", body), patience.first_token_s),
            patience,
            client.loop.time() + patience.total_s,
        )
    except RequestRefused as error:
        if error.status not in _UNKNOWN_FIELD:
            raise
        raise gives_no_scores(spec) from error
    places = _places(answer)
    if places is None or len(places) != len(text):
        raise gives_no_scores(spec)
    return from_prompt(places, ids, end_id)


def _places(answer: Any) -> list[dict[int, float] | None] | None:
    """The log-probabilities at each token of the prompt, by id; ``None`` if the answer holds none.

    It reads ``{"choices": [{"prompt_logprobs": [null, {"8": {"logprob": -0.1, …}, …}, …]}]}``.
    """
    try:
        reported = answer["choices"][0]["prompt_logprobs"]
        return [None if place is None else _by_id(place) for place in reported]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None


def _by_id(place: Mapping[str, Any]) -> dict[int, float]:
    return {int(token_id): float(entry["logprob"]) for token_id, entry in place.items()}
