"""How busy an engine is."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from relay_core.engines.in_flight import LIGHT_BELOW, MOST_TOKENS, REQUESTS_PER_TOKEN, Load
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.vllm import VLLMEngine
from relay_core.errors import ConfigurationError


def test_requests_are_counted_while_they_run() -> None:
    load = Load()
    seen = []
    with ExitStack() as running:
        for _ in range(100):
            seen.append((load.is_light, load.tokens_per_message()))
            running.enter_context(load.one_more())
    light, tokens = zip(*seen, strict=True)
    assert light == (True,) * LIGHT_BELOW + (False,) * (100 - LIGHT_BELOW)
    assert tokens[:REQUESTS_PER_TOKEN] == (1,) * REQUESTS_PER_TOKEN, "few requests: token by token"
    assert list(tokens) == sorted(tokens)
    assert tokens[64] == tokens[-1] == MOST_TOKENS
    assert load.is_light and load.tokens_per_message() == 1, "all of them ended"


def test_a_request_that_fails_has_ended_too() -> None:
    load = Load()
    for _ in range(LIGHT_BELOW):
        with pytest.raises(ValueError), load.one_more():
            raise ValueError
    assert load.is_light


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_a_wrong_interval_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="stream_interval"):
        OpenAIEngine("m", "http://localhost:1/v1", stream_interval=wrong)
    with pytest.raises(ConfigurationError, match="stream_interval"):
        VLLMEngine("some/model", stream_interval=wrong)


@pytest.mark.parametrize("given", [1, 32])
def test_what_a_user_says_is_kept(given: int) -> None:
    load = Load(given)
    assert load.tokens_per_message() == given
    with ExitStack() as running:
        for _ in range(100):
            running.enter_context(load.one_more())
        assert load.tokens_per_message() == given


async def test_a_warmed_request_gets_each_token_by_itself() -> None:
    assert Load(32).tokens_per_message(warmed=True) == 1
