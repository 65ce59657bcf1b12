"""Property 10 of DESIGN.md: the same models, greedy, in float32, give the same transcript through every engine.

Written, but not yet run to its end on any machine: what it finds belongs in docs/engines.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from servers import environment, vllm_server

from relay_core import bundled, portal
from relay_core.bundled import task
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.vllm import VLLMEngine
from relay_core.events import RelayResult
from relay_core.relay import Relay

PROBLEMS = 200
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def in_vllm() -> Iterator[VLLMEngine]:
    """The bundled student in vLLM, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        engine = VLLMEngine(bundled.path("student-relay"), dtype="float32", enforce_eager=True, max_model_len=2048)
        portal.run(engine.start)
    yield engine
    portal.run(engine.aclose)


@pytest.fixture(scope="module")
def over_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIEngine]:
    """The bundled teacher behind a vLLM server."""
    log = tmp_path_factory.mktemp("teacher") / "log"
    with vllm_server(bundled.path("teacher"), log, name="teacher", context=2048) as url:
        engine = OpenAIEngine("teacher", url + "/v1", mode="ids", first_token_s=300)
        yield engine
        portal.run(engine.aclose)


@pytest.fixture(scope="module")
def in_transformers() -> Iterator[tuple[TransformersEngine, TransformersEngine]]:
    student = TransformersEngine(bundled.path("student-relay"), dtype="float32")
    teacher = TransformersEngine(bundled.path("teacher"), dtype="float32")
    yield student, teacher
    portal.run(student.aclose)
    portal.run(teacher.aclose)


def transcripts(results: list[RelayResult]) -> list[list[tuple[Any, ...]]]:
    return [[(segment.author, tuple(segment.token_ids)) for segment in result.segments] for result in results]


def test_the_same_transcripts_through_every_engine(
    in_transformers: tuple[TransformersEngine, TransformersEngine], in_vllm: VLLMEngine, over_http: OpenAIEngine
) -> None:
    """Each engine serves in the place of student or teacher, so that a difference in any one of them shows."""
    messages = [list(problem.messages) for problem in task.problems(PROBLEMS, split="test", seed=10)]
    student, teacher = in_transformers
    answers = {}
    for name, relay in {
        "transformers, transformers": Relay(student, teacher),
        "vllm, http": Relay(in_vllm, over_http),
        "vllm, transformers": Relay(in_vllm, teacher),
    }.items():
        answers[name] = transcripts(relay.batch(messages, max_tokens=160, max_concurrency=32))
    reference = answers.pop("transformers, transformers")
    calls = sum(segment[0] == "teacher" for transcript in reference for segment in transcript)
    assert calls > PROBLEMS / 4, "the teacher was not asked often enough to compare anything"
    for name, others in answers.items():
        different = [i for i, (a, b) in enumerate(zip(reference, others, strict=True)) if a != b]
        assert not different, f"{name}: {len(different)} of {PROBLEMS} differ, such as problem {different[0]}"
