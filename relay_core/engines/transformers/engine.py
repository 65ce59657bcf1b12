"""A causal language model in this process, on transformers' continuous batching.

One manager serves all requests of an engine. It pages the cache, batches all running requests, and shares prefixes
between requests, so that a student reads little again when it continues after a call. ``manager.py`` holds the manager,
and ``sampler.py`` the work within a step. Nothing heavy is imported before :meth:`TransformersEngine.start`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.constraint import Constraint, Kind
from relay_core.engines import model_folder
from relay_core.engines.base import LOG, Chunk, EngineUsage, Finish, Prompt, Sampling, Warming
from relay_core.engines.closing import close_in_thread
from relay_core.engines.forked import keep_unused, watch_forks
from relay_core.engines.in_process import InProcessEngine
from relay_core.engines.model_source import DTYPES, ModelSource
from relay_core.engines.request_check import checked_ids
from relay_core.engines.spec import Scheme, engine_from_spec
from relay_core.engines.transformers.end_tokens import end_ids_of
from relay_core.engines.transformers.grammars import Grammar, Grammars
from relay_core.engines.transformers.lent_model import LentModel
from relay_core.engines.transformers.model_memory import ModelMemory
from relay_core.engines.transformers.options import BatchingOptions
from relay_core.engines.transformers.plain_model import PlainModel
from relay_core.engines.transformers.precision import why_batches_are_slow
from relay_core.engines.transformers.request import Request
from relay_core.errors import ConfigurationError, ContextOverflow
from relay_core.template import missing_end
from relay_core.tokenizer import as_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from relay_core.engines.transformers.head import Head
    from relay_core.engines.transformers.manager import Manager
    from relay_core.engines.transformers.reading import Reading


class TransformersEngine(InProcessEngine):
    """A causal language model from transformers.

    Args:
        model: a folder or a hub id, also those of a LoRA adapter, which is merged into its base; or a loaded model
            (which needs ``tokenizer``). A loaded model still belongs to the caller: while requests run, it is in eval
            mode, otherwise in the mode that the caller chose.
        tokenizer: a :class:`~relay_core.tokenizer.Tokenizer` or a Hugging Face tokenizer; ``None`` loads the model's
            own tokenizer.
        base: the folder or hub id of an adapter's base; ``None`` means the one that its config names.
        spec: the engine's name in messages and reports; with ``None``, the name is derived from ``model``.
        device: the device, such as ``"cpu"`` or ``"cuda:1"``; ``None`` means a GPU if there is one.
        dtype: ``"auto"`` (the checkpoint's dtype), ``"float32"``, ``"bfloat16"`` or ``"float16"``. In float32,
            greedy answers are the same alone and in a batch; in bfloat16 and float16 they may differ.
        page_size: tokens per page of the cache; requests share prefixes in whole pages.
        cache_tokens: the number of tokens that the cache holds for all requests together, which also limits a single
            request; ``None`` makes room for one whole context or for many short requests, within ``cache_gib``.
        cache_gib: the most GiB of an automatically sized cache; ``None`` suits model and memory (``cache_size.py``).
        max_batch_tokens: the most tokens in one step, prompts included.
        max_requests: the most requests in one step; further requests wait.
        cuda_graphs: whether to capture the steps as CUDA graphs; only for a CUDA device.
        async_batching: whether to prepare a step while the device computes the previous one; only for a CUDA device.

    A request with a seed is repeatable if it runs alone. In a shared batch, its random numbers are the same, but
    rounding depends on the other requests, so if two tokens are almost equally likely, the result can vary. In
    bfloat16 and float16 this concerns greedy requests too.

    Raises:
        ConfigurationError: an option is invalid, or the folder is not a usable model; nothing was loaded.
    """

    constrains = True
    constraints = frozenset(Kind)
    resumes_constraints = True

    def __init__(
        self,
        model: str | Path | PreTrainedModel,
        tokenizer: Any = None,
        *,
        base: str | Path | None = None,
        spec: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        page_size: int = 16,
        cache_tokens: int | None = None,
        cache_gib: float | None = None,
        max_batch_tokens: int = 512,
        max_requests: int = 256,
        cuda_graphs: bool = False,
        async_batching: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigurationError(f"dtype is {dtype!r}: write one of {', '.join(DTYPES)}")
        self._device, self._dtype, self._name = device, dtype, ""
        self._batching = BatchingOptions(
            page_size=page_size,
            cache_tokens=cache_tokens,
            cache_gib=cache_gib,
            max_batch_tokens=max_batch_tokens,
            max_requests=max_requests,
            cuda_graphs=cuda_graphs,
            async_batching=async_batching,
        )
        self._tokenizer = None if tokenizer is None else as_tokenizer(tokenizer)
        self._has_own_tokenizer = tokenizer is None
        self._source: ModelSource | None = None
        self._lent: LentModel | None = None
        self._memory: ModelMemory | None = None  # of a model that the engine loads
        self._context: int | None = None
        if isinstance(model, (str, Path)):
            self._name = str(model)
            self._source = ModelSource.of(self._name, base, tokenizer=tokenizer is None)
            self.deciding = self._source.deciding(dtype)
            self._memory = ModelMemory(self._source.weights, dtype, device, merges=self._source.adapter is not None)
            self._context = self._source.context
        elif hasattr(model, "init_continuous_batching"):
            self._lent = LentModel.of(model, tokenizer, base)
            self._context = model_folder.context_in(model.config.to_dict())
        else:
            raise ConfigurationError(f"model is a {type(model).__name__}: write {model_folder.ACCEPTED_MODELS}")
        self.spec = spec or f"transformers:{self._name or type(model).__name__}"
        self._model: PreTrainedModel | None = None
        self._manager: Manager | None = None
        self._start_lock, self._requests_lock = threading.Lock(), threading.Lock()  # requests come from any event loop
        self._requests: set[Request] = set()
        self._end_ids: frozenset[int] = frozenset()
        self._vocabulary_size: int | None = None  # rows of the embedding
        self._shares_prefixes, self._warning = True, ""  # the latest warning
        self._grammars: Grammars  # from the start on
        self._heads: dict[str, Head] = {}  # by their folders
        self._retire: weakref.finalize[..., Any] | None = None  # stops the manager when the engine is collected
        watch_forks(self)

    def forget_parent(self) -> None:
        """In a forked child: do not use the parent's model, and refuse to answer if it was loaded."""
        self.is_lost_in_fork = self.is_lost_in_fork or self._model is not None or self._lent is not None
        if self._retire is not None:
            self._retire.detach()
        keep_unused(self._manager, self._model, self._retire)
        self._manager = self._model = self._retire = None
        self._start_lock, self._requests_lock = threading.Lock(), threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._source is None or not self._has_own_tokenizer:
            raise self.not_picklable("it was built with a loaded model or a tokenizer")
        model, base = self._source.absolute()
        options = {"base": base, "device": self._device, "dtype": self._dtype, **asdict(self._batching)}
        if self.spec.startswith(f"{Scheme.BUNDLED}:"):  # its folder may be elsewhere in the other process
            return partial(engine_from_spec, self.spec, **options), ()
        return partial(type(self), model, spec=self.spec, **options), ()

    # -- starting and closing ------------------------------------------------------------------------------

    @property
    def warms(self) -> bool:
        return True

    @property
    def running(self) -> bool:
        return self._manager is not None and self._manager.takes_requests

    def _start(self) -> None:
        with self._start_lock:
            if self.running:
                return
            if self._model is None:
                self._model = self._lent.model if self._lent is not None else self._load()
            self.tokenizer.prepare()
            if self._retire is not None:
                self._retire()  # the manager's thread has died: free its cache before creating another one
            self._manager = None
            self._end_ids = end_ids_of(self._model, self.tokenizer)
            self._vocabulary_size = self._model.get_input_embeddings().weight.shape[0]
            self._grammars = Grammars(self.tokenizer, self._vocabulary_size, self._end_ids)
            from relay_core.engines.transformers import self_check
            from relay_core.engines.transformers.manager import Manager

            with self._lent.starting() if self._lent is not None else nullcontext():
                manager = Manager(self._model, self._batching, self._end_ids)
                try:
                    self_check.check_once(manager, self._model, self.tokenizer)
                except BaseException:
                    manager.retire()
                    raise
                self._manager = manager
            self._shares_prefixes = manager.unshared is None
            self._warn(manager.unshared, missing_end(self.tokenizer, self._end_ids), why_batches_are_slow(self._model))
            contexts = model_folder.context_in(self._model.config.to_dict()), manager.max_request_tokens
            self._context = min(filter(None, contexts))
            self._retire = weakref.finalize(self, manager.retire)
            self._retire.atexit = False

    def _warn(self, *reasons: str | None) -> None:
        earlier, self._warning = self._warning, "; ".join(reason for reason in reasons if reason)
        if self._warning not in ("", earlier):
            LOG.warning("%s: %s", self.spec, self._warning)

    def _load(self) -> PreTrainedModel:
        assert self._source is not None and self._memory is not None
        self._memory.check()
        model = self._source.load(dtype=self._dtype, device=self._device)
        self._memory.loaded()
        return model

    async def aclose(self) -> None:
        await close_in_thread(self._stop)

    def _stop(self) -> None:
        with self._start_lock:
            if self._retire is not None:
                self._retire()
                self._retire = None
            self._manager = None
            self._model = None
            self._heads.clear()
            if self._memory is not None:
                self._memory.closed()

    # -- requests ------------------------------------------------------------------------------------------

    async def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        await self.start()
        ids = await self.tokenizer.encode_async(prompt.text) if prompt.token_ids is None else prompt.token_ids
        room = sampling.max_tokens if self._context is None else self._context - len(ids)
        if room <= 0:
            raise ContextOverflow(f"the prompt has {len(ids)} tokens, the context is {self._context}")
        ids = checked_ids(ids, self._vocabulary_size)
        limit = min(sampling.max_tokens, room)
        grammar = await self._grammar(sampling)
        if grammar is not None and grammar.is_complete:
            yield Chunk((), Finish.END, None, EngineUsage(len(ids), None, 0))
            return
        head = None if sampling.head is None else await self._head(sampling.head)
        loop = asyncio.get_running_loop()
        request = Request(loop, self.tokenizer, ids, sampling, limit, self._end_ids, grammar, head)
        self._enter(request)
        try:
            if warming is not None:
                request.shorten(await warming.wanted())
            while True:
                chunk = await request.next_chunk()
                yield chunk
                if chunk.finish is not None:
                    break
        finally:
            self._leave(request)
            if warming is not None:
                _count_waste(request, warming)

    async def _grammar(self, sampling: Sampling) -> Grammar | None:
        """The grammar of a request; ``None`` if nothing constrains it."""
        constraint = Constraint.of(sampling)
        if constraint is None:
            return None
        return await asyncio.to_thread(self._grammars.begin, constraint, sampling.begun)

    async def check_constraint(self, constraint: Constraint) -> None:
        await super().check_constraint(constraint)
        await asyncio.to_thread(self._grammars.compile, constraint)

    async def check_head(self, folder: str) -> None:
        await self.start()
        await self._head(folder)

    async def _head(self, folder: str) -> Head:
        """The head in ``folder``, which is read once."""
        if folder not in self._heads:
            from relay_core.engines.transformers.head import load_head

            assert self._model is not None
            head = await asyncio.to_thread(load_head, folder, str(self._model.device))
            head.check_fits(self._model, folder)
            self._heads[folder] = head
        return self._heads[folder]

    def _enter(self, request: Request) -> None:
        with self._requests_lock:
            if self._lent is not None:
                self._lent.borrow()
            self._requests.add(request)
        # Deferred, so that requests that begin together are all created before the first step occupies the CPU.
        request.loop.call_soon(self._submit, request)

    def _submit(self, request: Request) -> None:
        if request.is_over:
            return  # closed before it was submitted
        if self._manager is None:
            request.fail(RuntimeError("the engine was closed"))
            return
        try:
            self._manager.submit(request)
        except Exception as error:  # this callback has no caller: without a failed request, its consumer would wait on
            request.fail(error)

    def _leave(self, request: Request) -> None:
        was_closed_early, request.is_over = not request.is_over, True
        if was_closed_early and request.ticket is not None and self._manager is not None:
            self._manager.cancel(request.ticket)
        with self._requests_lock:
            self._requests.discard(request)
            if not self._requests and self._lent is not None:
                # A step may still be running for a stream that was closed early. If the model changed during this
                # step, cache pages would be filled with wrong values.
                with self._between_steps() if was_closed_early else nullcontext():
                    self._lent.hand_back()

    def _between_steps(self) -> contextlib.AbstractContextManager[bool]:
        """Hold the manager before its next step. Yields ``False`` if no manager is running."""
        return nullcontext(False) if self._manager is None else self._manager.between_steps()

    async def read(self, prompt_ids: Sequence[int], ids: Sequence[int], *, inputs: bool = True) -> Reading:
        """What the model makes of each of ``ids`` behind a prompt (``reading.py``). Running requests wait meanwhile."""
        from relay_core.engines.transformers.reading import read

        await self.start()
        text = checked_ids([*prompt_ids, *ids], self._vocabulary_size)
        if self._context is not None and len(text) > self._context:
            raise ContextOverflow(f"the text has {len(text)} tokens, the context is {self._context}")
        return await asyncio.to_thread(read, self._model, text, len(ids), self._end_ids, self._between_steps, inputs)

    async def plain(self) -> PlainModel:
        """The started model, for transformers' own forward passes between two steps of the manager."""
        await self.start()
        assert self._model is not None
        return PlainModel(self._model, self.tokenizer, self._end_ids, self._context, self._between_steps)

    # -- live weights --------------------------------------------------------------------------------------

    def weights_changed(self) -> None:
        """Drop the cache, which was filled with the old weights.

        Running requests start again from their prompts and the tokens written so far.
        """
        with self.paused():
            pass

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pause generation between two steps, so that the model can be changed in place.

        Within the context, a model that the caller passed in has the caller's mode (train or eval) and its own
        attention. At the end, the cache is dropped and running requests start again, as after :meth:`weights_changed`.
        Contexts must not be nested.
        """
        manager = self._manager
        with self._between_steps() as is_running:
            lent = self._lent if self._requests else None
            if lent is not None:
                lent.hand_back()
            try:
                yield
            finally:
                if lent is not None:
                    lent.borrow()
                if is_running and manager is not None and manager is self._manager:
                    manager.drop_cache()
                    for request in list(self._requests):
                        if not request.is_over and request.ticket is not None:
                            manager.cancel(request.ticket)
                            manager.submit(request)

    @property
    def memory_needs(self) -> tuple[ModelMemory, BatchingOptions]:
        """What decides how much memory the model and its cache take.

        Raises:
            ConfigurationError: the engine was given a loaded model.
        """
        if self._memory is None:
            raise ConfigurationError(f"{self.spec} was given a loaded model: its memory is not the engine's")
        return self._memory, self._batching

    def describe(self) -> dict[str, Any]:
        model = self._model
        description: dict[str, Any] = {**super().describe(), "running": self.running}
        description |= {} if self._source is None else self._source.describe()
        if model is not None:
            description |= {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}
            description["parameters"] = sum(p.numel() for p in model.parameters())
            description |= {"shares_prefixes": self._shares_prefixes, "warning": self._warning or None}
        return description


def _count_waste(request: Request, warming: Warming) -> None:
    """Count the tokens of a warmed request that were not used."""
    waste = warming.waste
    if warming.is_wanted:
        waste.tokens += request.wasted_tokens
    elif request.cached_tokens is not None:  # otherwise the prompt was never read
        waste.add(request.prompt_length, request.cached_tokens, request.sampled_count)
