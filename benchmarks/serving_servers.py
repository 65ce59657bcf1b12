"""The servers of ``serving.py``: one vLLM server a model, and proxies that delay the teacher's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import random_pair
from benchmarks.serving_pairs import Pair
from testing.servers import delayed, vllm_server


@dataclass(frozen=True)
class Servers:
    """The URLs of a pair's servers, without ``/v1``.

    ``delayed_teachers``: by delay in milliseconds, the URL at which the teacher answers so much later. A delay of 0 is
    the teacher's own URL.
    """

    student: str
    teacher: str
    delayed_teachers: Mapping[int, str]

    async def empty_prefix_caches(self) -> None:
        """Empty the prefix caches of both servers.

        Raises:
            RuntimeError: a server did not empty its cache.
        """
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            for url in (self.student, self.teacher):
                for _ in range(50):  # requests that were cancelled may hold their blocks a moment longer
                    if (await client.post(f"{url}/reset_prefix_cache")).json()["success"]:
                        break
                    await asyncio.sleep(0.1)
                else:
                    raise RuntimeError(f"{url} does not empty its prefix cache")


@contextmanager
def start_servers(
    pair: Pair, logs: Path, *, delays_ms: Sequence[int], options: Sequence[str], urls: Sequence[str] | None = None
) -> Iterator[Servers]:
    """Start both servers and a proxy for each delay; stop them at the end.

    Args:
        pair: the models.
        logs: the folder for the servers' logs, which is also where the servers run.
        delays_ms: the delays of the teacher, in milliseconds.
        options: added to vLLM's command line.
        urls: the student's and the teacher's URL, for servers that run already; then only proxies are started.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        student, teacher = urls or [
            stack.enter_context(_vllm_server(role, model, logs, options))
            for role, model in (("student", pair.student), ("teacher", pair.teacher))
        ]
        delayed_teachers = {
            delay: stack.enter_context(delayed(teacher, logs / f"proxy{delay}.log", delay / 1000)) if delay else teacher
            for delay in delays_ms
        }
        yield Servers(student, teacher, delayed_teachers)


@contextmanager
def _vllm_server(role: str, model: Path, logs: Path, options: Sequence[str]) -> Iterator[str]:
    print(f"starting vLLM with {model}", file=sys.stderr)
    with vllm_server(
        model,
        logs / f"{role}.log",
        name=role,
        context=random_pair.CONTEXT_LENGTH,
        options=["--block-size", "32", "--max-num-seqs", "64", *options],
        VLLM_SERVER_DEV_MODE="1",  # has the endpoint that empties the prefix cache
    ) as url:
        yield url
