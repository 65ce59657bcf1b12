"""OpenAI-compatible servers as child processes on loopback, and the tiny random model that they serve.

vLLM's server and ``transformers serve`` are the real servers. Each server is stopped with all its children when its
context ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import psutil

Starting = AbstractContextManager[Callable[[], str]]
# Runs the model in vLLM's engine process. By default, the model has a worker process, and the two processes wait for
# each other in a busy loop, so that two servers on two cores make no progress for seconds.
EXECUTOR = "uni"
READY_TIMEOUT_S = 400  # for a machine that is busy with other work


def make_model(folder: Path) -> Path:
    """Write a Qwen3 with random weights and about 1,000 tokens, which writes printable ASCII and never ends."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from relay_core import bundled
    from relay_core.tokenizer import Tokenizer
    from relay_core.train import card, recipe

    hf = Tokenizer.load(bundled.path("teacher")).hf
    config = Qwen3Config(
        vocab_size=len(hf),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        intermediate_size=128,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=hf.eos_token_id,
        pad_token_id=hf.pad_token_id,
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config)
    table = Tokenizer(hf).token_bytes
    assert table is not None
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(0, 0.5)
        for token_id, text in enumerate(table):
            if not text or any(byte < 32 or byte > 126 for byte in text) or token_id in hf.get_added_vocab().values():
                model.model.embed_tokens.weight[token_id] = 0  # so that the token is never the likeliest
    model.save_pretrained(folder)
    hf.save_pretrained(folder)
    card.write(folder, recipe.load("bundled"))  # a trained student has one, and every server must load it
    return folder


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """This process's environment, with what the servers need."""
    return {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # otherwise all servers run on the same core
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # required by the executor "uni"
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def starting_vllm(
    model: Path, log: Path, *, name: str = "tiny", context: int = 512, options: Sequence[str] = (), **variables: str
) -> Starting:
    """vLLM's OpenAI server.

    Args:
        model: the model's folder.
        log: the file for the server's output.
        name: the name under which the model is served.
        context: the context length, in tokens.
        options: further options of the command line.
        variables: environment variables.
    """
    port = free_port()
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(port),
        "--host", "127.0.0.1", "--served-model-name", name, "--enforce-eager", "--dtype", "float32",
        "--max-model-len", str(context), "--enable-prompt-tokens-details", "--uvicorn-log-level", "warning",
        "--distributed-executor-backend", EXECUTOR,
        *options,
    ]  # fmt: skip
    return starting(command, f"http://127.0.0.1:{port}", "/health", log, **variables)


@contextlib.contextmanager
def vllm_server(model: Path, log: Path, **options: Any) -> Iterator[str]:
    """As :func:`starting_vllm`, once the server answers; yields its URL."""
    with starting_vllm(model, log, **options) as ready:
        yield ready()


def starting_transformers(model: Path, log: Path) -> Starting:
    """``transformers serve``, without a hub cache, as on a new machine; its list of models then answers 500."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--host", "127.0.0.1",
        "--port", str(port), "--device", "cpu",
    ]  # fmt: skip
    return starting(command, f"http://127.0.0.1:{port}", "/health", log, HF_HUB_CACHE=str(log.parent / "none"))


def starting_llama_cpp(gguf: Path, log: Path, *, context: int = 4096) -> Starting:
    """llama.cpp's server (``llama_cpp_server.py``), with a context of ``context`` tokens for each request."""
    port = free_port()
    script = str(Path(__file__).with_name("llama_cpp_server.py"))
    command = [sys.executable, script, str(gguf), str(port), str(context)]
    return starting(command, f"http://127.0.0.1:{port}", "/health", log)


@contextlib.contextmanager
def scripted_server(log: Path, *, delay_s: float = 0.0, port: int | None = None) -> Iterator[str]:
    """``scripted_server.py`` in a child process; yields its URL."""
    port = port or free_port()
    script = str(Path(__file__).with_name("scripted_server.py"))
    command = [sys.executable, script, "--port", str(port), "--delay-s", str(delay_s)]
    with running(command, f"http://127.0.0.1:{port}", "/health", log) as url:
        yield url


@contextlib.contextmanager
def delayed(upstream: str, log: Path, seconds: float) -> Iterator[str]:
    """The faulty proxy in a child process, which delays every request and does nothing else; yields its URL."""
    port = free_port()
    script = str(Path(__file__).with_name("faulty_proxy.py"))
    command = [sys.executable, script, upstream, "--port", str(port), "--delay-s", str(seconds)]
    with running(command, f"http://127.0.0.1:{port}", "/health", log) as url:
        yield url


@contextlib.contextmanager
def running(command: list[str], url: str, health: str, log: Path, **variables: str) -> Iterator[str]:
    """As :func:`starting`, once the server answers; yields its URL."""
    with starting(command, url, health, log, **variables) as ready:
        yield ready()


@contextlib.contextmanager
def starting(command: list[str], url: str, health: str, log: Path, **variables: str) -> Iterator[Callable[[], str]]:
    """Start a server process, and stop it with all its children when the context ends.

    Yields a function that waits until the server answers, and returns its URL.

    Args:
        command: the command line.
        url: the server's URL.
        health: the path of its health check.
        log: the file for its output.
        variables: environment variables.
    """
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**environment(), **variables},
            cwd=log.parent,
            start_new_session=True,
        )
    give_up_at = time.monotonic() + READY_TIMEOUT_S

    def ready() -> str:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url + health, timeout=5, trust_env=False).status_code == 200:
                    return url
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"{command[:4]} did not come up:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)

    children: list[psutil.Process] = []
    try:
        yield ready
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
