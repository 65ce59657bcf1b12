"""vLLM, started by this process: ``AsyncLLM`` with token ids as input and output, and with prefix caching.

vLLM runs the model in a child process and communicates with it from one event loop. We use the background loop of
``portal.py``, which lasts as long as this process, so that vLLM starts only once (which takes half a minute),
regardless of how many event loops the caller uses. ``cross_loop.py`` passes streams to readers on other loops. We
decode the text ourselves, token by token, so that all engines give the same text; vLLM decodes only to find stop
strings.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import os
import threading
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core import extras, hub, portal
from relay_core.constraint import Constraint, Kind
from relay_core.engines.base import Chunk, EngineUsage, Prompt, Sampling, Warming
from relay_core.engines.closing import close_in_thread
from relay_core.engines.cpu_affinity import check_processors, child_processes_on
from relay_core.engines.cross_loop import run_on
from relay_core.engines.forked import keep_unused, watch_forks
from relay_core.engines.gc_freeze import freeze_imports
from relay_core.engines.grammar_text import structured_outputs
from relay_core.engines.in_flight import RequestsInFlight
from relay_core.engines.in_process import InProcessEngine
from relay_core.engines.model_source import DTYPES, ModelSource
from relay_core.engines.request_check import checked_ids
from relay_core.engines.scores import Scores, from_prompt, text_to_score
from relay_core.engines.vllm_requests import new_tokens, sampling_params
from relay_core.engines.warmed_stream import hold_until_wanted
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError, MissingExtraError

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    from relay_core.tokenizer import Tokenizer

# The usual cause of "initialization failed" in a script. Python's own message about it appears far above this error,
# where it is easily overlooked.
#: those of vLLM's arguments that decide the answers
_DECIDING = ("dtype", "hf_overrides", "kv_cache_dtype", "load_format", "max_model_len", "quantization", "revision")
_GUARD_HINT = (
    ' (in a script, the work must stand under `if __name__ == "__main__":`, because vLLM\'s child process imports the '
    "script)"
)


class VLLMEngine(InProcessEngine):
    """A model in vLLM, started by this process.

    Args:
        model: a folder or a hub id. The folder may hold a LoRA adapter: it is merged into its base, in a temporary
            folder that is deleted when vLLM has loaded it.
        base: the folder or hub id of an adapter's base; ``None`` means the one that its config names.
        logprobs: whether every token has its log-probability.
        stream_interval: the number of tokens that are delivered together; ``None`` means one, and up to 8 while many
            requests are in flight. The first token of a stream never waits for others.
        cpus: the CPUs on which the model's processes run, such as ``range(8)``; ``None`` means all. If student and
            teacher both run on CPUs, give each its own, since vLLM would bind both to the same CPUs.
        priority: vLLM's priority of this engine's requests; lower numbers run first. A priority other than 0 sets
            ``scheduling_policy="priority"`` unless another policy is given.
        engine_args: any of vLLM's ``AsyncEngineArgs``, such as ``dtype``, ``max_model_len``,
            ``gpu_memory_utilization``, ``tensor_parallel_size``, ``enforce_eager``, ``block_size``.

    Prefix caching is on unless ``enable_prefix_caching=False`` is given. Without it, every call reads its whole context
    again. On a CPU, set the environment variable ``VLLM_CPU_KVCACHE_SPACE`` (GiB).

    Raises:
        ConfigurationError: the folder is not a usable model, or there are no such CPUs; nothing was loaded.
    """

    constrains = True
    constraints = frozenset(Kind)

    def __init__(
        self,
        model: str | Path,
        *,
        base: str | Path | None = None,
        logprobs: bool = True,
        stream_interval: int | None = None,
        cpus: Iterable[int] | None = None,
        priority: int = 0,
        **engine_args: Any,
    ) -> None:
        self._name = str(model)
        self._source: ModelSource = ModelSource.of(self._name, base)
        self._context: int | None = engine_args.get("max_model_len") or self._source.context
        if engine_args.get("trust_remote_code"):
            raise ConfigurationError("trust_remote_code is True: relay runs no remote code; leave it out")
        self.spec = f"vllm:{self._name}"
        given = ((name, str(engine_args[name])) for name in _DECIDING if name in engine_args)
        self.deciding = (*self._source.deciding(), *given)
        self._logprobs, self._priority, self._engine_args = logprobs, priority, engine_args
        self._in_flight = RequestsInFlight(stream_interval)
        self._cpus = None if cpus is None else check_processors(cpus)
        self._tokenizer: Tokenizer | None = None
        self._llm: AsyncLLM | None = None
        self._home: asyncio.AbstractEventLoop | None = None
        self._start_lock = threading.Lock()
        self._request_numbers = itertools.count()
        watch_forks(self)

    def forget_parent(self) -> None:
        """In a forked child: do not use the parent's vLLM, and refuse to answer if it was loaded."""
        atexit.unregister(self._shut_down)
        keep_unused(self._llm)
        self.is_lost_in_fork = self.is_lost_in_fork or self._llm is not None
        self._llm = self._home = None
        self._start_lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._engine_args.get("hf_token"):
            raise self.not_picklable("it was built with hf_token=; set HF_TOKEN in the environment")
        options = {"logprobs": self._logprobs, "cpus": self._cpus, "priority": self._priority, **self._engine_args}
        model, options["base"] = self._source.absolute()
        options["stream_interval"] = self._in_flight.stream_interval
        return partial(type(self), model, **options), ()

    # -- starting and closing ------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        llm, home = self._llm, self._home
        return llm is not None and home is not None and not home.is_closed() and not llm.errored

    @property
    def warms(self) -> bool:
        return self._in_flight.is_light

    def _start(self) -> None:
        """Start vLLM's process; blocks for tens of seconds."""
        with self._start_lock:
            if self.running:
                return
            self._shut_down()
            os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout belongs to the caller
            try:
                with extras.importing():
                    from vllm.engine.arg_utils import AsyncEngineArgs
                    from vllm.v1.engine.async_llm import AsyncLLM
            except ImportError as error:
                raise MissingExtraError("VLLMEngine", "vllm") from error
            freeze_imports()
            dtype = self._engine_args.get("dtype", "auto")
            with self._source.whole_folder(self.tokenizer, dtype if dtype in DTYPES else "auto") as model:
                self._llm = self._load(model, AsyncEngineArgs, AsyncLLM)
            self.tokenizer.prepare()
            self._home = portal.run(_running_loop)
            self._context = self._llm.model_config.max_model_len
            atexit.register(self._shut_down)

    def _load(self, model: str, args_class: type[AsyncEngineArgs], llm_class: type[AsyncLLM]) -> AsyncLLM:
        args = {
            "enable_prefix_caching": True,
            "enable_log_requests": False,
            "disable_log_stats": True,
            **self._engine_args,
        }
        if self._priority:
            args.setdefault("scheduling_policy", "priority")
        if self._uses_guidance:
            from vllm.config import StructuredOutputsConfig

            args["structured_outputs_config"] = StructuredOutputsConfig(backend="guidance")
        hub.download_options(model)  # refuses a model that is neither cached nor reachable
        try:
            config = args_class(model=model, **args)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{self.spec}: vLLM does not take these arguments: {error}") from error
        try:
            with child_processes_on(self._cpus):
                return llm_class.from_engine_args(config)
        except ConfigurationError:
            raise
        except Exception as error:
            message = f"vLLM could not load {self._name}: {type(error).__name__}: {error}"
            hint = _GUARD_HINT if "initialization failed" in message else ""  # vLLM has no exception class for it
            raise EngineError(message + hint) from error

    async def aclose(self) -> None:
        await close_in_thread(self._shut_down)

    def _shut_down(self) -> None:
        """End vLLM's process and wait for it."""
        llm, home, self._llm, self._home = self._llm, self._home, None, None
        atexit.unregister(self._shut_down)
        if llm is None:
            return
        # this comes first, since vLLM's listener would report the end of its process as a crash
        self._end_streams(llm, home)
        with contextlib.suppress(Exception):
            llm.shutdown(timeout=5.0)
        self._end_streams(llm, home)  # streams that have begun in the meantime

    def _end_streams(self, llm: AsyncLLM, home: asyncio.AbstractEventLoop | None) -> None:
        if home is not None and home.is_running():
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(_end_streams(llm, self._was_closed()), home).result(timeout=2)

    @property
    def _uses_guidance(self) -> bool:
        """Whether vLLM uses the library that TransformersEngine uses: unless the caller has chosen."""
        return "structured_outputs_config" not in self._engine_args

    async def check_constraint(self, constraint: Constraint) -> None:
        await super().check_constraint(constraint)
        await asyncio.to_thread(self._check_constraint, constraint)

    def _check_constraint(self, constraint: Constraint) -> None:
        llm = self._llm
        if llm is None:
            raise self._was_closed()
        try:
            params = self._params(Sampling(1, **constraint.fields("")), warmed=False)
            params.verify(llm.model_config, None, llm.vllm_config.structured_outputs_config, self.tokenizer.hf)
        except (AttributeError, TypeError):  # another version of vLLM, which checks when the request comes
            return
        except Exception as error:  # vLLM has a class of its own for it, under another name in each version
            message = f"{self.spec}: vLLM cannot decode under this {constraint.kind}: {error}"
            raise ConfigurationError(message) from error

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self._source.describe(), "running": self.running}

    # -- streaming -----------------------------------------------------------------------------------------

    async def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        await self.start()
        llm, home = self._llm, self._home
        if llm is None or home is None:
            raise self._was_closed()
        ids = checked_ids(
            prompt.token_ids if prompt.token_ids is not None else await self.tokenizer.encode_async(prompt.text),
            llm.model_config.get_vocab_size(),
        )
        if self._context is not None and len(ids) >= self._context:
            raise ContextOverflow(f"the prompt has {len(ids)} tokens, the model's context is {self._context}")
        chunks = self._chunks(llm, ids, sampling, warmed=warming is not None)
        if home is not asyncio.get_running_loop():
            chunks = run_on(home, chunks)
        if warming is not None:
            chunks = hold_until_wanted(chunks, warming, len(ids), read_on=True)
        with self._in_flight.track_request():
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    async def scores(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Scores:
        """What the model makes of each of ``ids`` behind a prompt (``scores.py``)."""
        await self.start()
        llm, home = self._llm, self._home
        if llm is None or home is None:
            raise self._was_closed()
        end_id = self.tokenizer.hf.eos_token_id
        text = checked_ids(text_to_score(prompt_ids, ids, end_id), llm.model_config.get_vocab_size())
        if self._context is not None and len(text) >= self._context:
            raise ContextOverflow(f"the text has {len(text)} tokens, the model's context is {self._context}")
        async with aclosing(run_on(home, self._prompt_logprobs(llm, text))) as read:
            places = [place async for place in read]
        return from_prompt(places, ids, end_id)

    async def _prompt_logprobs(self, llm: AsyncLLM, text: list[int]) -> AsyncGenerator[dict[int, float] | None, None]:
        """For each token of the text, its log-probability and that of the likeliest token; runs on vLLM's loop."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            max_tokens=1, prompt_logprobs=1, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        number = f"relay-{id(self):x}-{next(self._request_numbers)}"
        prompt: Any = {"type": "token", "prompt_token_ids": text}
        try:
            async with aclosing(llm.generate(prompt, params, request_id=number, priority=self._priority)) as outputs:
                async for output in outputs:
                    for place in output.prompt_logprobs or []:
                        yield None if place is None else {i: entry.logprob for i, entry in place.items()}
        except Exception as error:
            raise EngineError(f"vLLM failed: {type(error).__name__}: {error}") from error

    def _was_closed(self) -> EngineError:
        return EngineError(f"{self.spec} was closed")

    async def _chunks(
        self, llm: AsyncLLM, ids: list[int], sampling: Sampling, *, warmed: bool
    ) -> AsyncGenerator[Chunk, None]:
        """vLLM's outputs as chunks; runs on the loop that vLLM was started on."""
        is_current = llm is self._llm
        if not is_current:
            raise self._was_closed()
        decoder, written_count = self.tokenizer.decoder(ids), 0
        try:
            params = self._params(sampling, warmed=warmed)
        except Exception as error:  # the name of vLLM's class for this error differs between its versions
            raise ConfigurationError(f"{self.spec}: vLLM does not take these settings: {error}") from error
        outputs = llm.generate(
            # "type" marks the prompt as rendered; without it, vLLM passes the prompt through a rendering thread
            {"type": "token", "prompt_token_ids": ids},
            params,
            request_id=f"relay-{id(self):x}-{next(self._request_numbers)}",
            priority=self._priority,
        )
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    tokens, finish, end = new_tokens(output)
                    tokens = [t._replace(text=decoder.step(t.id)) for t in tokens if t.id is not None]
                    written_count += len(tokens)
                    usage = None
                    if finish is not None or warmed:  # a warmed stream may be cut at any chunk
                        completion_tokens = written_count + (end is not None)
                        usage = EngineUsage(len(ids), output.num_cached_tokens, completion_tokens)
                    if tokens or finish is not None:
                        yield Chunk(tuple(tokens), finish, end, usage)
        except (EngineError, ConfigurationError):
            raise
        except Exception as error:
            if llm is not self._llm:
                raise self._was_closed() from error
            raise EngineError(f"vLLM failed: {type(error).__name__}: {error}") from error

    def _params(self, sampling: Sampling, *, warmed: bool) -> SamplingParams:
        from vllm.sampling_params import StructuredOutputsParams

        constraint = Constraint.of(sampling)
        held_to = (
            None
            if constraint is None
            else StructuredOutputsParams(**structured_outputs(constraint, by_guidance=self._uses_guidance))
        )
        return sampling_params(
            sampling,
            logprobs=self._logprobs,
            stream_interval=self._in_flight.tokens_per_message(warmed=warmed),
            structured_outputs=held_to,
        )


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def _end_streams(llm: AsyncLLM, error: EngineError) -> None:
    """Stop listening to vLLM's process, and raise ``error`` in every open stream; runs on vLLM's event loop."""
    listener = getattr(llm, "output_handler", None)
    if listener is not None:
        listener.cancel()
        await asyncio.wait([listener], timeout=1)
    llm.output_processor.propagate_error(error)
