"""Three pretrained models, each in every kind of engine: what ``tests/real`` runs on.

``../shared/tools/real-models`` lays the models down. llama.cpp's server reads the same weights as GGUF, from the folder
``gguf`` beside them (``testing/gguf.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from relay_core import Engine, OpenAIEngine, Prompt, Sampling, TransformersEngine, VLLMEngine, portal
from relay_core.engines.base import Chunk, Warming
from relay_core.engines.wrapped import Wrapped
from testing.servers import EXECUTOR, Starting, environment, starting_llama_cpp, starting_transformers, starting_vllm

MODELS = ("smollm2-135m", "gemma3-270m", "qwen2.5-coder-1.5b")
CONTEXT = 4096  # tokens; the models' own contexts would take more memory
ON_TRANSFORMERS, IN_VLLM, VLLM_SERVER = "transformers", "vLLM in process", "vLLM's server"
TRANSFORMERS_SERVE, LLAMA_CPP = "transformers serve", "llama.cpp's server"
VLLM_MEMORY = {"VLLM_CPU_KVCACHE_SPACE": "1"}  # GiB


class Recorded(Wrapped):
    """Keeps each request's prompt, and what was delivered for it."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.requests: list[tuple[Prompt, list[Chunk]]] = []

    async def _kept(self, prompt: Prompt, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        kept: list[Chunk] = []
        self.requests.append((prompt, kept))
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                kept.append(chunk)
                yield chunk

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._kept(prompt, self.inner.stream(prompt, sampling))

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        return self._kept(prompt, self.inner.warm_stream(prompt, sampling, warming))


def kinds(models: Path) -> dict[str, str]:
    """The kinds of engine, each with the reason why it cannot run here; empty if it can."""
    no_vllm = "" if importlib.util.find_spec("vllm") else "vLLM is not installed (make vllm)"
    missing = [name for name in MODELS if not (models / "gguf" / f"{name}.gguf").is_file()]
    no_gguf = f"no {', '.join(missing)} in {models / 'gguf'} (python -m testing.gguf {models})" if missing else ""
    no_llama_cpp = "" if importlib.util.find_spec("xllamacpp") else "xllamacpp is not installed"
    return {
        ON_TRANSFORMERS: "",
        IN_VLLM: no_vllm,
        VLLM_SERVER: no_vllm,
        TRANSFORMERS_SERVE: "",
        LLAMA_CPP: no_llama_cpp or no_gguf,
    }


@contextlib.contextmanager
def engines(kind: str, models: Path, logs: Path, names: Sequence[str] = MODELS) -> Iterator[Mapping[str, Engine]]:
    """The models with these names in engines of one kind, by name; started, and closed when the context ends."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in {**environment(), **VLLM_MEMORY}.items():
            patch.setenv(name, value)
        made = _made(kind, models, logs, names, stack)
        for engine in made.values():
            stack.callback(portal.run, engine.aclose)
        portal.run(partial(_start, list(made.values())))
        yield made


async def _start(engines: Sequence[Engine]) -> None:
    await asyncio.gather(*(engine.start() for engine in engines))


def _made(kind: str, models: Path, logs: Path, names: Sequence[str], stack: contextlib.ExitStack) -> dict[str, Engine]:
    if kind == ON_TRANSFORMERS:
        return {name: TransformersEngine(models / name, cache_tokens=2 * CONTEXT) for name in names}
    if kind == IN_VLLM:
        return {
            name: VLLMEngine(
                models / name, max_model_len=CONTEXT, enforce_eager=True, block_size=32, max_num_seqs=64,
                distributed_executor_backend=EXECUTOR,
            )
            for name in names
        }  # fmt: skip
    ready = {name: stack.enter_context(_server(kind, models, name, logs / name)) for name in names}
    return {
        name: OpenAIEngine(
            # `transformers serve` knows a model by its path, and so we find the tokenizer there by ourselves
            str(models / name) if kind == TRANSFORMERS_SERVE else name,
            f"{url()}/v1",
            tokenizer=None if kind == TRANSFORMERS_SERVE else str(models / name),
            first_token_s=300,
            total_s=900,
        )
        for name, url in ready.items()
    }


def _server(kind: str, models: Path, name: str, log: Path) -> Starting:
    if kind == VLLM_SERVER:
        options = ["--dtype", "bfloat16", "--block-size", "32", "--max-num-seqs", "64"]
        return starting_vllm(models / name, log, name=name, context=CONTEXT, options=options, **VLLM_MEMORY)
    if kind == TRANSFORMERS_SERVE:
        return starting_transformers(models / name, log)
    return starting_llama_cpp(models / "gguf" / f"{name}.gguf", log, context=CONTEXT)
