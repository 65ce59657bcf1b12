"""What an endpoint is found to be able to do, by one that answers as told; real ones are in test_openai.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from relay_core.engines.openai.probe import probe
from relay_core.engines.openai.protocol import RUNNING_USAGE, USAGE
from relay_core.engines.openai.retries import Fault
from relay_core.errors import ConfigurationError, EngineError

ANSWER = {"choices": [{"message": {"content": "1"}}], "usage": {"prompt_tokens": 9}}


async def models(path: str) -> Any:
    return {"data": [{"id": "m", "max_model_len": 64}]}


async def answers(path: str, body: Mapping[str, Any]) -> Any:
    return ANSWER


class Streams:
    """Takes a streamed request only with stream options that it knows."""

    def __init__(self, known: list[Mapping[str, bool]], refusal: Exception) -> None:
        self.known, self.refusal = known, refusal
        self.asked: list[Mapping[str, bool]] = []

    async def drain(self, path: str, body: Mapping[str, Any]) -> None:
        self.asked.append(body.get("stream_options", {}))
        if self.asked[-1] not in self.known:
            raise self.refusal


@pytest.mark.parametrize(
    ("known", "refusal", "found"),
    [
        ([RUNNING_USAGE, USAGE, {}], EngineError("400"), RUNNING_USAGE),
        ([USAGE, {}], EngineError("400: unknown field"), USAGE),
        ([USAGE, {}], Fault("500", status=500), USAGE),
        ([{}], EngineError("400: unknown field"), {}),
    ],
)
async def test_no_more_usage_is_asked_for_than_the_endpoint_gives(
    known: list[Mapping[str, bool]], refusal: Exception, found: Mapping[str, bool]
) -> None:
    streams = Streams(known, refusal)
    endpoint = await probe(models, answers, streams.drain, model="m", mode="chat")
    assert endpoint.dialect.stream_options == found
    assert endpoint.context_length == 64
    assert not endpoint.tried, "what was refused was the option"


async def test_an_endpoint_that_is_ill_is_not_taken_for_one_that_gives_no_usage() -> None:
    with pytest.raises(Fault, match="500"):
        await probe(models, answers, Streams([], Fault("500", status=500)).drain, model="m", mode="chat")
    with pytest.raises(Fault, match="gone"):
        await probe(models, answers, Streams([USAGE], Fault("gone")).drain, model="m", mode="chat")
    with pytest.raises(ConfigurationError, match="400"):
        await probe(models, answers, Streams([], EngineError("400")).drain, model="m", mode="chat")
