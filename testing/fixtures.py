"""A pytest plugin with the fixtures that need a server or vLLM; each server starts once per session."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from relay_core import bundled, portal
from relay_core.engines.vllm import VLLMEngine
from testing.faulty_proxy import FaultyProxy
from testing.servers import EXECUTOR, Starting, environment, make_model, starting_transformers, starting_vllm

RAY_TOKEN = secrets.token_hex(32)  # else Ray keeps one in the home directory; a process reads its token only once
VLLM_CPUS = {max(os.sched_getaffinity(0))}  # for the engine in `in_vllm`


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Qwen3 with 0.1 M parameters."""
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A Ray of this machine with two CPUs, to which the tests of a module are connected."""
    import ray

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as folder:
        patch.setenv("RAY_AUTH_TOKEN", RAY_TOKEN)
        patch.setenv("RAY_TMPDIR", folder)  # of a short name, for sockets
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, logging_level="ERROR")
        try:
            yield
        finally:
            ray.shutdown()
            signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def servers(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Callable[[], str]]]:
    """The servers that this session's tests need, by fixture name.

    The servers start at the same time, since each needs half a minute of one core. Calling a value waits until its
    server answers, and returns the URL.
    """
    logs = tmp_path_factory.mktemp("servers")
    options_of_the_pair: dict[str, Any] = {
        "context": 2048, "options": ["--block-size", "32", "--max-num-seqs", "64"], "VLLM_SERVER_DEV_MODE": "1",
    }  # fmt: skip

    def vllm(name: str, model: Path, **options: Any) -> Starting:
        return starting_vllm(model, logs / name, name=name, **options)

    starters: dict[str, Callable[[], Starting]] = {
        "vllm_url": lambda: vllm("tiny", tiny_model),
        "transformers_url": lambda: starting_transformers(tiny_model, logs / "transformers"),
        "student_url": lambda: vllm("student", bundled.path("student-relay"), **options_of_the_pair),
        "teacher_url": lambda: vllm("teacher", bundled.path("teacher"), **options_of_the_pair),
    }
    if running_url := os.environ.get("RELAY_TEST_VLLM_URL"):
        starters["vllm_url"] = lambda: contextlib.nullcontext(lambda: running_url)
    needed = {name for item in request.session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(start()) for name, start in starters.items() if name in needed}


@pytest.fixture(scope="session")
def vllm_url(servers: Mapping[str, Callable[[], str]]) -> str:
    """A real vLLM server with the tiny model, under the name ``tiny``, with a context of 512 tokens.

    The environment variable RELAY_TEST_VLLM_URL names a running server to use instead.
    """
    return servers["vllm_url"]()


@pytest.fixture(scope="session")
def transformers_url(servers: Mapping[str, Callable[[], str]]) -> str:
    """A real ``transformers serve`` with the tiny model, under the name of its path."""
    return servers["transformers_url"]()


@pytest.fixture(scope="session")
def student_url(servers: Mapping[str, Callable[[], str]]) -> str:
    """A real vLLM server with the bundled student, under the name ``student``."""
    return servers["student_url"]()


@pytest.fixture(scope="session")
def teacher_url(servers: Mapping[str, Callable[[], str]]) -> str:
    """A real vLLM server with the bundled teacher, under the name ``teacher``."""
    return servers["teacher_url"]()


@pytest.fixture(scope="session")
def in_vllm() -> Iterator[VLLMEngine]:
    """The bundled student in a VLLMEngine, with a context of 512 tokens; its processes must be gone after closing."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        before = set(psutil.Process().children(recursive=True))
        engine = VLLMEngine(
            bundled.path("student-relay"), dtype="float32", max_model_len=512, enforce_eager=True, block_size=32,
            distributed_executor_backend=EXECUTOR, cpus=VLLM_CPUS,
        )  # fmt: skip
        assert not engine.running
        portal.run(engine.start)
    started = [child for child in psutil.Process().children(recursive=True) if child not in before]
    children = [child for child in started if "VLLM" in " ".join(child.cmdline())]
    assert children
    assert all(os.sched_getaffinity(thread.id) == VLLM_CPUS for child in children for thread in child.threads())
    yield engine
    portal.run(engine.aclose)
    assert not engine.running
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@pytest.fixture
async def proxy(vllm_url: str) -> AsyncIterator[FaultyProxy]:
    """A faulty proxy in front of vLLM."""
    async with FaultyProxy(vllm_url) as faulty_proxy:
        yield faulty_proxy
