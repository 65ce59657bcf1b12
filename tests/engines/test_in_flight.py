"""Requests in flight are counted, and tokens per message follow from their number."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from relay_core.engines.in_flight import LIGHT_BELOW, MOST_TOKENS, REQUESTS_PER_TOKEN, RequestsInFlight
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.vllm import VLLMEngine
from relay_core.errors import ConfigurationError


def test_requests_are_counted_while_they_run() -> None:
    requests = RequestsInFlight()
    observed = []
    with ExitStack() as running:
        for _ in range(100):
            observed.append((requests.is_light, requests.tokens_per_message()))
            running.enter_context(requests.track_request())
    light, tokens = zip(*observed, strict=True)
    assert light == (True,) * LIGHT_BELOW + (False,) * (100 - LIGHT_BELOW)
    assert tokens[:REQUESTS_PER_TOKEN] == (1,) * REQUESTS_PER_TOKEN, "with few requests, each token comes alone"
    assert list(tokens) == sorted(tokens)
    assert tokens[64] == tokens[-1] == MOST_TOKENS
    assert requests.is_light and requests.tokens_per_message() == 1, "all requests ended"


def test_a_failed_request_is_no_longer_counted() -> None:
    requests = RequestsInFlight()
    for _ in range(LIGHT_BELOW):
        with pytest.raises(ValueError), requests.track_request():
            raise ValueError
    assert requests.is_light


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_a_wrong_interval_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="stream_interval"):
        OpenAIEngine("m", "http://localhost:1/v1", stream_interval=wrong)
    with pytest.raises(ConfigurationError, match="stream_interval"):
        VLLMEngine("some/model", stream_interval=wrong)


@pytest.mark.parametrize("interval", [1, 32])
def test_the_users_interval_is_kept(interval: int) -> None:
    requests = RequestsInFlight(interval)
    assert requests.tokens_per_message() == interval
    with ExitStack() as running:
        for _ in range(100):
            running.enter_context(requests.track_request())
        assert requests.tokens_per_message() == interval


async def test_each_token_of_a_warmed_request_comes_alone() -> None:
    assert RequestsInFlight(32).tokens_per_message(warmed=True) == 1
