"""Probing an endpoint that is a few functions; test_engine.py probes real servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from relay_core.engines.openai.faults import Fault, RequestRefused
from relay_core.engines.openai.probe import probe
from relay_core.engines.openai.protocol import RUNNING_USAGE, USAGE
from relay_core.errors import ConfigurationError, EngineError

ANSWER = {"choices": [{"message": {"content": "1"}}], "usage": {"prompt_tokens": 9}}


async def models(path: str) -> Any:
    return {"data": [{"id": "m", "max_model_len": 64}]}


async def answers(path: str, body: Mapping[str, Any]) -> Any:
    return ANSWER


class Streams:
    """Accepts a streamed request only with stream options that it knows."""

    def __init__(self, known: list[Mapping[str, bool]], refusal: Exception) -> None:
        self.known, self.refusal = known, refusal
        self.requested_options: list[Mapping[str, bool]] = []

    async def drain(self, path: str, body: Mapping[str, Any]) -> None:
        self.requested_options.append(body.get("stream_options", {}))
        if self.requested_options[-1] not in self.known:
            raise self.refusal


@pytest.mark.parametrize(
    ("known", "refusal", "accepted"),
    [
        ([RUNNING_USAGE, USAGE, {}], EngineError("400"), RUNNING_USAGE),
        ([USAGE, {}], EngineError("400: unknown field"), USAGE),
        ([USAGE, {}], Fault("500", status=500), USAGE),
        ([{}], EngineError("400: unknown field"), {}),
    ],
)
async def test_the_most_detailed_usage_that_the_endpoint_accepts_is_requested(
    known: list[Mapping[str, bool]], refusal: Exception, accepted: Mapping[str, bool]
) -> None:
    streams = Streams(known, refusal)
    endpoint = await probe(models, answers, streams.drain, model="m", mode="chat")
    assert endpoint.dialect.stream_options == accepted
    assert endpoint.context_length == 64
    assert not endpoint.passed_over, "the option was refused, not the mode"


async def test_a_fault_is_not_mistaken_for_a_refused_stream_option() -> None:
    with pytest.raises(Fault, match="500"):
        await probe(models, answers, Streams([], Fault("500", status=500)).drain, model="m", mode="chat")
    with pytest.raises(Fault, match="gone"):
        await probe(models, answers, Streams([USAGE], Fault("gone")).drain, model="m", mode="chat")
    with pytest.raises(ConfigurationError, match="400"):
        await probe(models, answers, Streams([], EngineError("400")).drain, model="m", mode="chat")


async def test_a_refused_key_ends_the_probe_and_another_refusal_of_the_list_does_not() -> None:
    def refusing(status: int) -> Any:
        async def get(path: str) -> Any:
            raise RequestRefused("in other words", status=status, role="student")

        return get

    streams = Streams([USAGE], EngineError("400"))
    for status in (401, 403):
        with pytest.raises(ConfigurationError, match=r"^student: in other words$"):
            await probe(refusing(status), answers, streams.drain, model="m", mode="chat")
    assert (await probe(refusing(404), answers, streams.drain, model="m", mode="chat")).served == ()
