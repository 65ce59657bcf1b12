"""vLLM in this process: ``AsyncLLM``, token ids in and out, prefix caching on.

vLLM runs the model in a process of its own and talks to it from one event loop. That loop is the background one of
``portal.py``, which lasts as long as this process, so that starting costs its half minute once, however many loops
come and go; streams asked for elsewhere are carried across. Text is decoded here, token by token, so that every
engine says the same; vLLM decodes only where it must look for a stop string.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import os
import threading
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core import portal
from relay_core.engines import model_folder
from relay_core.engines.base import Chunk, Engine, EngineUsage, Finish, Prompt, Sampling, Token, Warming
from relay_core.engines.cpu_affinity import check_processors, processes_on
from relay_core.engines.gc_freeze import freeze_imports
from relay_core.engines.in_flight import Load
from relay_core.engines.warmed_stream import hold_until_wanted
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError, MissingExtraError

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

    from relay_core.tokenizer import Tokenizer

# vLLM says the cause itself, far above; this one most of all, which is Python's own and easily read over
_GUARD = ' (in a script, what it does must stand under `if __name__ == "__main__":`, for vLLM\'s process imports it)'


class VLLMEngine(Engine):
    """A model in vLLM, in this process.

    Args:
        model: a folder or a hub id.
        logprobs: give every token's log-probability.
        stream_interval: hand on so many tokens at a time; ``None``: one, and up to 8 where many requests are under way.
            The first token never waits.
        cpus: the processors on which the model's processes run, such as ``range(8)``; ``None``: any. On a CPU, give
            student and teacher each their own: vLLM would bind both to the same ones.
        priority: vLLM's priority of all requests of this engine (lower first); other than 0 it needs
            ``scheduling_policy="priority"``.
        engine_args: any of vLLM's ``AsyncEngineArgs``, such as ``dtype``, ``max_model_len``,
            ``gpu_memory_utilization``, ``tensor_parallel_size``, ``enforce_eager``, ``block_size``.

    Prefix caching is on unless ``enable_prefix_caching=False`` is given: without it a hand-over reads the whole
    context again. On a CPU, set ``VLLM_CPU_KVCACHE_SPACE`` (GiB) in the environment.

    Raises:
        ConfigurationError: the folder is no model, vLLM has no such argument, or there are no such processors; nothing
            was loaded.
    """

    constrains = True
    speaks_ids = True
    warmable = True

    def __init__(
        self,
        model: str | Path,
        *,
        logprobs: bool = True,
        stream_interval: int | None = None,
        cpus: Iterable[int] | None = None,
        priority: int = 0,
        **engine_args: Any,
    ) -> None:
        self._source = str(model)
        folder = model_folder.check_source(self._source)
        self._context: int | None = engine_args.get("max_model_len")
        if self._context is None and folder is not None:
            self._context = model_folder.context_in(model_folder.read_config(folder))
        if engine_args.get("trust_remote_code"):
            raise ConfigurationError("trust_remote_code is True: no remote code is run here; leave it out")
        self.spec = f"vllm:{self._source}"
        self._logprobs, self._priority, self._args = logprobs, priority, engine_args
        self._load = Load(stream_interval)
        self._cpus = None if cpus is None else check_processors(cpus)
        self._tokenizer: Tokenizer | None = None
        self._llm: AsyncLLM | None = None
        self._home: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
        self._numbers = itertools.count()

    # -- life ----------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = model_folder.load_tokenizer(self._source)
        return self._tokenizer

    @property
    def context_length(self) -> int | None:
        return self._context

    @property
    def running(self) -> bool:
        """Whether the model is loaded and takes requests."""
        llm, home = self._llm, self._home
        return llm is not None and home is not None and not home.is_closed() and not llm.errored

    @property
    def warms(self) -> bool:
        return self._load.is_light

    async def start(self) -> None:
        if not self.running:
            await asyncio.to_thread(self._start)

    def _start(self) -> None:
        """Start vLLM's process; blocking, tens of seconds."""
        with self._starting:
            if self.running:
                return
            self._shut_down()
            os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout is the caller's
            try:
                from vllm.engine.arg_utils import AsyncEngineArgs
                from vllm.v1.engine.async_llm import AsyncLLM
            except ImportError as error:
                raise MissingExtraError("VLLMEngine", "vllm") from error
            freeze_imports()
            args = {
                "enable_prefix_caching": True,
                "enable_log_requests": False,
                "disable_log_stats": True,
                **self._args,
            }
            if self._priority:
                args.setdefault("scheduling_policy", "priority")
            try:
                config = AsyncEngineArgs(model=self._source, **args)
            except (TypeError, ValueError) as error:
                raise ConfigurationError(f"{self.spec}: vLLM does not take these arguments: {error}") from error
            try:
                with processes_on(self._cpus):
                    self._llm = AsyncLLM.from_engine_args(config)
            except ConfigurationError:
                raise
            except Exception as error:
                said = f"vLLM could not load {self._source}: {type(error).__name__}: {error}"
                raise EngineError(said + (_GUARD if "initialization failed" in said else "")) from error
            self.tokenizer.prepare()
            self._home = portal.run(_running_loop)
            self._context = self._llm.model_config.max_model_len
            atexit.register(self._shut_down)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        """End vLLM's process and wait for it."""
        llm, home, self._llm, self._home = self._llm, self._home, None, None
        atexit.unregister(self._shut_down)
        if llm is None:
            return
        listener = getattr(llm, "output_handler", None)
        if listener is not None and home is not None and home.is_running():
            # before the process goes: its listener would report an engine that died
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(_cancelled(listener), home).result(timeout=2)
        with contextlib.suppress(Exception):
            llm.shutdown(timeout=5.0)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "running": self.running}

    # -- streaming -----------------------------------------------------------------------------------------

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, None)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, warming)

    async def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        await self.start()
        ids = list(prompt.token_ids) if prompt.token_ids is not None else self.tokenizer.encode(prompt.text)
        if not ids:
            raise ConfigurationError(f"{self.spec}: the prompt has no tokens")
        if self._context is not None and len(ids) >= self._context:
            raise ContextOverflow(f"the prompt has {len(ids)} tokens, the model's context is {self._context}")
        home = self._home
        assert home is not None
        chunks = self._chunks(ids, sampling, warmed=warming is not None)
        if home is not asyncio.get_running_loop():
            chunks = _carried(chunks, home)
        if warming is not None:
            chunks = hold_until_wanted(chunks, warming, len(ids), read_on=True)
        with self._load.one_more():
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    async def _chunks(self, ids: list[int], sampling: Sampling, *, warmed: bool) -> AsyncGenerator[Chunk, None]:
        """On the home loop: vLLM's outputs as chunks."""
        llm = self._llm
        if llm is None:
            raise EngineError(f"{self.spec} was closed")
        decoder, sent = self.tokenizer.decoder(ids), 0
        outputs = llm.generate(
            # "type" says that it is rendered; otherwise it would go through a thread that renders prompts
            {"type": "token", "prompt_token_ids": ids},
            self._params(sampling, warmed=warmed),
            request_id=f"relay-{id(self):x}-{next(self._numbers)}",
            priority=self._priority,
        )
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    tokens, finish, end = _read(output)
                    tokens = [Token(t.id, decoder.step(t.id), t.logprob) for t in tokens if t.id is not None]
                    sent += len(tokens)
                    usage = None
                    if finish is not None or warmed:  # which may end before its own end
                        usage = EngineUsage(len(ids), output.num_cached_tokens, sent + (end is not None))
                    if tokens or finish is not None:
                        yield Chunk(tuple(tokens), finish, end, usage)
        except (EngineError, ConfigurationError):
            raise
        except Exception as error:
            raise EngineError(f"vLLM failed: {type(error).__name__}: {error}") from error

    def _params(self, sampling: Sampling, *, warmed: bool) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        schema = sampling.json_schema
        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or 0,
            seed=sampling.seed,
            stop=list(sampling.stop) or None,
            include_stop_str_in_output=bool(sampling.stop),
            detokenize=bool(sampling.stop),
            logprobs=0 if self._logprobs else None,
            stream_interval=self._load.tokens_per_message(warmed=warmed),
            structured_outputs=None if schema is None else StructuredOutputsParams(json=dict(schema)),
            output_kind=RequestOutputKind.DELTA,
        )


def _read(output: RequestOutput) -> tuple[list[Token], Finish | None, Token | None]:
    """The new tokens, without text yet; the end; and the end token."""
    said = output.outputs[0]
    tokens = []
    for i, token_id in enumerate(said.token_ids):
        entry = said.logprobs[i].get(token_id) if said.logprobs else None
        tokens.append(Token(int(token_id), "", entry.logprob if entry is not None else None))
    if said.finish_reason is None:
        return tokens, None, None
    if said.finish_reason == "length":
        return tokens, Finish.LENGTH, None
    if said.finish_reason == "stop":
        if isinstance(said.stop_reason, str):
            return tokens, Finish.STOP, None
        return tokens, Finish.END, tokens.pop() if tokens else None
    raise EngineError(f"vLLM ended with {said.finish_reason!r}")


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=1)


async def _carried(chunks: AsyncGenerator[Chunk, None], home: asyncio.AbstractEventLoop) -> AsyncGenerator[Chunk, None]:
    """``chunks``, made on the loop ``home``, as a generator on this one; closing it closes them there."""
    here = asyncio.get_running_loop()
    arrived: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()

    def put(item: Chunk | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # this loop may be gone
            here.call_soon_threadsafe(arrived.put_nowait, item)

    async def pump() -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    put(chunk)
            put(None)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            put(error)

    pumping = asyncio.run_coroutine_threadsafe(pump(), home)
    try:
        while (item := await arrived.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        if not pumping.done():
            pumping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([asyncio.wrap_future(pumping)], timeout=5)
