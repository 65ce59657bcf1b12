"""vLLM's outputs as tokens, and the parameters of a request; the rest is in test_vllm.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from relay_core import EngineError, Sampling
from relay_core.engines.base import Finish
from relay_core.engines.vllm_requests import new_tokens, sampling_params


def output(ids: list[int], finish: str | None = None, stop: Any = None, logprobs: Any = None) -> Any:
    completion = SimpleNamespace(token_ids=ids, logprobs=logprobs, finish_reason=finish, stop_reason=stop)
    return SimpleNamespace(outputs=[completion])


def test_the_end_token_is_apart_and_a_stop_string_keeps_its_token() -> None:
    tokens, finish, end = new_tokens(output([5, 6, 7], "stop"))
    assert ([t.id for t in tokens], finish) == ([5, 6], Finish.END)
    assert end is not None and end.id == 7
    tokens, finish, end = new_tokens(output([5, 6], "stop", stop="</call>"))
    assert ([t.id for t in tokens], finish, end) == ([5, 6], Finish.STOP, None)
    assert new_tokens(output([5], "length"))[1:] == (Finish.LENGTH, None)
    assert new_tokens(output([5]))[1:] == (None, None)
    with pytest.raises(EngineError, match="vLLM ended with 'abort'"):
        new_tokens(output([], "abort"))


def test_log_probabilities_of_the_token_and_of_the_likeliest() -> None:
    entries = {5: SimpleNamespace(logprob=-2.0), 9: SimpleNamespace(logprob=-0.5)}
    [token], _, _ = new_tokens(output([5], logprobs=[entries]))
    assert (token.logprob, token.top_logprob) == (-2.0, -0.5)


def test_nothing_is_sampled_by_vllms_own_defaults() -> None:
    params = sampling_params(Sampling(7, temperature=0.5, seed=3, stop=("x",)), logprobs=True, stream_interval=4)
    assert (params.max_tokens, params.temperature, params.top_p, params.top_k, params.min_p) == (7, 0.5, 1.0, 0, 0.0)
    assert (params.seed, params.stop, params.logprobs, params.stream_interval) == (3, ["x"], 0, 4)
    assert params.include_stop_str_in_output and params.detokenize
    assert params.logit_bias is None
    params = sampling_params(Sampling(7, logit_bias={5: -2.0}), logprobs=False, stream_interval=1)
    assert params.logit_bias == {5: -2.0}
    params = sampling_params(Sampling(7, top_logprob=True), logprobs=False, stream_interval=1)
    assert params.logprobs == 1 and not params.detokenize
