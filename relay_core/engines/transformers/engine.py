"""A causal language model in this process, on transformers' continuous batching.

One manager serves all requests of an engine. It pages the cache, shares prefixes between requests, so that a student
that goes on after a call re-reads little, and batches whatever runs. ``manager.py`` holds the manager, ``sampler.py``
what happens within a step. Nothing heavy is imported before :meth:`TransformersEngine.start`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Iterator
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
from relay_core.engines.request_check import checked_ids
from relay_core.engines.spec import Scheme, engine_from_spec
from relay_core.engines.transformers.grammars import Grammar, Grammars
from relay_core.engines.transformers.lent_model import LentModel
from relay_core.engines.transformers.options import BatchingOptions
from relay_core.engines.transformers.request import Request
from relay_core.errors import ConfigurationError, ContextOverflow
from relay_core.tokenizer import as_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from relay_core.engines.transformers.manager import Manager

DTYPES = ("auto", "float32", "bfloat16", "float16")


class TransformersEngine(InProcessEngine):
    """A causal language model from transformers.

    Args:
        model: a folder, a hub id, or a loaded model (then ``tokenizer`` is needed). A loaded model remains the
            caller's: while requests run it is in eval mode, otherwise in the mode that the caller chose.
        tokenizer: a :class:`~relay_core.tokenizer.Tokenizer` or a Hugging Face tokenizer; ``None`` loads the
            model's own.
        spec: the engine's name in messages and reports; ``None`` makes one from ``model``.
        device: such as ``"cpu"`` or ``"cuda:1"``; ``None`` takes a GPU if there is one.
        dtype: ``"auto"`` (the checkpoint's), ``"float32"``, ``"bfloat16"`` or ``"float16"``. Greedy decoding is exactly
            repeatable in float32.
        page_size: tokens per page of the cache; prefixes are shared by whole pages.
        cache_tokens: tokens that the cache holds for all requests together, and so the most that one request may have;
            ``None`` makes room for one whole context and for many short requests, within ``cache_gib``.
        cache_gib: the most memory, in GiB, that an automatically sized cache takes; ``None`` is a share of the free
            memory.
        max_batch_tokens: the most tokens in one step, prompts included.
        max_requests: the most requests in one step; further requests wait.
        cuda_graphs: capture the steps as CUDA graphs; for a CUDA device only.
        async_batching: prepare a step while the device computes the one before; for a CUDA device only.

    A request with a seed is repeatable when it runs alone. In a shared batch its random draws stay the same, but
    rounding depends on the other requests in the batch, so a close decision may fall differently.

    Raises:
        ConfigurationError: an option is invalid, or the folder holds no usable model; nothing was loaded.
    """

    constrains = True
    constraints = frozenset(Kind)
    resumes_constraints = True

    def __init__(
        self,
        model: str | Path | PreTrainedModel,
        tokenizer: Any = None,
        *,
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
        self._device, self._dtype = device, dtype
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
        self._source = ""  # a folder or a hub id
        self._lent: LentModel | None = None
        self._context: int | None = None
        if isinstance(model, (str, Path)):
            self._source = str(model)
            folder = model_folder.check_source(self._source, tokenizer=tokenizer is None)
            if folder is not None:
                self._context = model_folder.context_in(model_folder.read_config(folder))
        elif hasattr(model, "init_continuous_batching"):
            if tokenizer is None:
                raise ConfigurationError("a loaded model needs its tokenizer: TransformersEngine(model, tokenizer)")
            self._lent = LentModel(model)
            self._context = model_folder.context_in(model.config.to_dict())
        else:
            raise ConfigurationError(f"model is a {type(model).__name__}: write {model_folder.ACCEPTED_MODELS}")
        self.spec = spec or f"transformers:{self._source or type(model).__name__}"
        self._model: PreTrainedModel | None = None
        self._manager: Manager | None = None
        self._start_lock = threading.Lock()
        self._requests: set[Request] = set()
        self._requests_lock = threading.Lock()  # requests may come from several event loops
        self._end_ids: frozenset[int] = frozenset()
        self._vocabulary_size: int | None = None  # rows of the embedding
        self._unshared: str | None = None  # what it costs that requests share no prefixes; None if they do
        self._grammars: Grammars  # from the start on
        self._retire: weakref.finalize[..., Any] | None = None  # stops the manager if the engine is forgotten
        watch_forks(self)

    def forget_parent(self) -> None:
        """In a forked child: leave the parent's model alone, and refuse to answer if there is one."""
        self.is_lost_in_fork = self.is_lost_in_fork or self._model is not None or self._lent is not None
        if self._retire is not None:
            self._retire.detach()
        keep_unused(self._manager, self._model, self._retire)
        self._manager = self._model = self._retire = None
        self._start_lock, self._requests_lock = threading.Lock(), threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._lent is not None or not self._has_own_tokenizer:
            raise self.not_picklable("it was built with a loaded model or a tokenizer")
        options = {"device": self._device, "dtype": self._dtype, **asdict(self._batching)}
        if self.spec.startswith(f"{Scheme.BUNDLED}:"):  # its folder may be elsewhere in the other process
            return partial(engine_from_spec, self.spec, **options), ()
        return partial(type(self), self._source, spec=self.spec, **options), ()

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
                self._retire()  # the manager's thread has died; its cache is freed before another is made
            self._manager = None
            self._end_ids = self._find_end_ids(self._model)
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
            if manager.unshared is not None and manager.unshared != self._unshared:
                LOG.warning("%s: %s", self.spec, manager.unshared)
            self._unshared = manager.unshared
            context, room = model_folder.context_in(self._model.config.to_dict()), self._manager.max_request_tokens
            self._context = room if context is None else min(context, room)
            self._retire = weakref.finalize(self, self._manager.retire)
            self._retire.atexit = False

    def _load(self) -> PreTrainedModel:
        return model_folder.load_model(self._source, dtype=self._dtype, device=self._device)

    async def aclose(self) -> None:
        await close_in_thread(self._stop)

    def _stop(self) -> None:
        with self._start_lock:
            if self._retire is not None:
                self._retire()
                self._retire = None
            self._manager = None
            self._model = None

    def _find_end_ids(self, model: PreTrainedModel) -> frozenset[int]:
        """The end tokens that the model's configs and its tokenizer name."""
        ids: list[Any] = [self.tokenizer.hf.eos_token_id]
        for config in (model.generation_config, model.config):
            value = getattr(config, "eos_token_id", None)
            ids += value if isinstance(value, list) else [value]
        return frozenset(int(i) for i in ids if i is not None)

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
        request = Request(asyncio.get_running_loop(), self.tokenizer, ids, sampling, limit, self._end_ids, grammar)
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

    def _enter(self, request: Request) -> None:
        with self._requests_lock:
            if self._lent is not None:
                self._lent.borrow()
            self._requests.add(request)
        # Deferred, so that requests that begin together are all made before the first step takes the processor.
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
                # A step may still compute for a stream that was closed early. Changing the model within that step
                # would fill cache pages with wrong values.
                with self._between_steps() if was_closed_early else nullcontext():
                    self._lent.hand_back()

    def _between_steps(self) -> contextlib.AbstractContextManager[bool]:
        """Hold the manager before its next step. Yields ``False`` if there is none that runs."""
        return nullcontext(False) if self._manager is None else self._manager.between_steps()

    # -- live weights --------------------------------------------------------------------------------------

    def weights_changed(self) -> None:
        """Drop the cache, since it was filled with other weights.

        Running requests start again from their prompts and the tokens written so far.
        """
        with self.paused():
            pass

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold generation between two steps, so that the model can be changed in place.

        Inside, a model that the caller passed in is in the caller's mode (train or eval) and has its own attention.
        On leaving, the cache is dropped and running requests start again, as after :meth:`weights_changed`. Do not
        nest.
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

    def describe(self) -> dict[str, Any]:
        model = self._model
        description: dict[str, Any] = {**super().describe(), "running": self.running}
        if model is not None:
            description |= {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}
            description["parameters"] = sum(p.numel() for p in model.parameters())
            description["shares_prefixes"] = self._unshared is None
            description["warning"] = self._unshared
        return description


def _count_waste(request: Request, warming: Warming) -> None:
    """Count the tokens of a warmed request that were not used."""
    waste = warming.waste
    if warming.is_wanted:
        waste.tokens += request.wasted_tokens
    elif request.cached_tokens is not None:  # otherwise the prompt was never read
        waste.add(request.prompt_length, request.cached_tokens, request.sampled_count)
