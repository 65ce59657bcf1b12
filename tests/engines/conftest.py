"""Real servers, one of each a session; and this folder's helpers on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# Tests on real servers need vLLM: `make test WITH_VLLM=yes`.
if os.environ.get("WITH_VLLM") != "yes":
    collect_ignore = [
        "test_benchmarks.py",
        "test_docs_vllm.py",
        "test_openai.py",
        "test_openai_faults.py",
        "test_openai_warming.py",
        "test_parity.py",
        "test_vllm.py",
    ]

from faulty_proxy import FaultyProxy
from servers import make_model, transformers_server, vllm_server


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 of 0.1 M parameters."""
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def vllm_url(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real vLLM server with the tiny model, called ``tiny``; a context of 512 tokens.

    Starting it takes half a minute: while working on these tests, RELAY_TEST_VLLM_URL names one that runs already.
    """
    if running := os.environ.get("RELAY_TEST_VLLM_URL"):
        yield running
        return
    with vllm_server(tiny_model, tmp_path_factory.mktemp("vllm") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def transformers_url(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real ``transformers serve`` with the tiny model, called by its path."""
    with transformers_server(tiny_model, tmp_path_factory.mktemp("serve") / "log") as url:
        yield url


@pytest.fixture
async def proxy(vllm_url: str) -> AsyncIterator[FaultyProxy]:
    """A faulty proxy before vLLM."""
    async with FaultyProxy(vllm_url) as between:
        yield between
