"""In this process, on transformers' continuous batching: one manager per model, many requests at once.

The manager pages the cache, shares prefixes between requests (so a relay's next segment re-reads little) and batches
what runs; sampling, stopping and delivery are in ``sampler.py``, model folders in ``model_folder.py``. Nothing heavy is
imported before :meth:`TransformersEngine.start`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import weakref
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.engines import model_folder
from relay_core.engines.base import Chunk, Engine, Prompt, Sampling, Warming
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.generation.continuous_batching import ContinuousBatchingManager

    from relay_core.engines.transformers.sampler import Request
    from relay_core.tokenizer import Tokenizer

DTYPES = ("auto", "float32", "bfloat16", "float16")


class TransformersEngine(Engine):
    """A causal language model from transformers.

    Args:
        model: a folder, a hub id, or a loaded model (then ``tokenizer`` is needed). A loaded model stays its
            owner's: it is in eval mode while requests run and in its own mode otherwise.
        tokenizer: a :class:`~relay_core.tokenizer.Tokenizer` or a Hugging Face tokenizer; ``None`` loads the
            model's own.
        spec: how a person names this engine.
        device: such as ``"cpu"`` or ``"cuda:1"``; ``None`` takes a GPU where there is one.
        dtype: ``"auto"`` (as the checkpoint says), ``"float32"``, ``"bfloat16"`` or ``"float16"``. Greedy decoding
            is exactly repeatable in float32.
        page_size: tokens per page of the cache; prefixes are shared by whole pages.
        cache_tokens: tokens that the cache holds, all requests together; ``None`` sizes it for one whole context
            and for many short requests, as far as ``cache_gib`` allows. One request cannot be longer than it.
        cache_gib: the most memory that such a cache takes; ``None`` is a share of what is free.
        max_batch_tokens: tokens per step, prompts included.
        max_requests: requests per step; more wait their turn.

    A seed makes a request that runs alone repeatable. In a shared batch its draws are still its own, but rounding
    depends on what else is in the batch, so a close decision may fall differently.

    Raises:
        ConfigurationError: what was found in the folder, and what is accepted; nothing was loaded.
    """

    speaks_ids = True
    warmable = True

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
    ) -> None:
        self._source: str | None = None
        self._given: PreTrainedModel | None = None
        self._model: PreTrainedModel | None = None
        self._context: int | None = None
        self._tokenizer: Tokenizer | None = None
        if dtype not in DTYPES:
            raise ConfigurationError(f"dtype is {dtype!r}: write one of {', '.join(DTYPES)}")
        for name, value, least in (
            ("page_size", page_size, 4),
            ("max_batch_tokens", max_batch_tokens, 1),
            ("max_requests", max_requests, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise ConfigurationError(f"{name} is {value!r}: write a whole number, {least} or more")
        if tokenizer is not None:
            from relay_core.tokenizer import as_tokenizer

            self._tokenizer = as_tokenizer(tokenizer)
        if isinstance(model, (str, Path)):
            self._source = str(model)
            folder = model_folder.check_source(self._source, tokenizer=tokenizer is None)
            if folder is not None:
                self._context = model_folder.context_in(model_folder.read_config(folder))
        elif hasattr(model, "init_continuous_batching"):
            if tokenizer is None:
                raise ConfigurationError("a loaded model needs its tokenizer: TransformersEngine(model, tokenizer)")
            self._given = model
            self._context = model_folder.context_in(model.config.to_dict())
        else:
            raise ConfigurationError(f"model is a {type(model).__name__}: write {model_folder.ACCEPTED}")
        self.spec = spec or f"transformers:{self._source or type(model).__name__}"
        self._device, self._dtype = device, dtype
        self._page_size, self._cache_tokens, self._cache_gib = page_size, cache_tokens, cache_gib
        self._max_batch_tokens, self._max_requests = max_batch_tokens, max_requests
        self._manager: ContinuousBatchingManager | None = None
        self._starting = threading.Lock()
        self._counting = threading.Lock()  # requests may come from several event loops
        self._requests: set[Request] = set()
        self._ends: frozenset[int] = frozenset()
        self._numbers = itertools.count()
        self._was_training = False
        self._attention = self._own_attention = ""
        self._retire: weakref.finalize[..., Any] | None = None

    # -- life ----------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            assert self._source is not None
            self._tokenizer = model_folder.load_tokenizer(self._source)
        return self._tokenizer

    @property
    def context_length(self) -> int | None:
        return self._context

    @property
    def warms(self) -> bool:
        return True

    @property
    def running(self) -> bool:
        """Whether the model is loaded and takes requests."""
        manager = self._manager
        return (
            manager is not None
            and manager.is_running()
            and manager.background_thread_status.can_accept_new_requests() is None
        )

    async def start(self) -> None:
        if not self.running:
            await asyncio.to_thread(self._start)

    def _start(self) -> None:
        with self._starting:
            if self.running:
                return
            if self._model is None:
                if self._given is None:
                    assert self._source is not None
                    self._model = model_folder.load_model(self._source, dtype=self._dtype, device=self._device)
                else:
                    self._model = self._given
            self.tokenizer.prepare()
            if self._retire is not None:
                self._retire()  # of a manager that died
            self._ends = self._end_ids()
            self._own_attention, training = self._model.config._attn_implementation, self._model.training
            from relay_core.engines.transformers import manager as managers

            self._manager, capacity = managers.start_manager(
                self._model,
                page_size=self._page_size,
                cache_tokens=self._cache_tokens,
                cache_gib=self._cache_gib,
                max_batch_tokens=self._max_batch_tokens,
                max_requests=self._max_requests,
                end_ids=self._ends,
            )
            own = model_folder.context_in(self._model.config.to_dict())
            self._context = capacity if own is None else min(own, capacity)
            self._attention = self._model.config._attn_implementation
            if self._given is not None:
                self._given.set_attn_implementation(self._own_attention)
                self._given.train(training)
            self._retire = weakref.finalize(self, managers.retire, self._manager)
            self._retire.atexit = False

    async def aclose(self) -> None:
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        with self._starting:
            if self._retire is not None:
                self._retire()
                self._retire = None
            self._manager = None
            self._model = None

    def _end_ids(self) -> frozenset[int]:
        """The model's end tokens: its generation config's and its tokenizer's."""
        assert self._model is not None
        ids: list[Any] = [self.tokenizer.hf.eos_token_id]
        for config in (self._model.generation_config, self._model.config):
            value = getattr(config, "eos_token_id", None)
            ids += value if isinstance(value, list) else [value]
        return frozenset(int(i) for i in ids if i is not None)

    # -- requests ------------------------------------------------------------------------------------------

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, None)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, warming)

    async def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        await self.start()
        from relay_core.engines.transformers.sampler import Request

        ids = self.tokenizer.encode(prompt.text) if prompt.token_ids is None else prompt.token_ids
        room = sampling.max_tokens if self._context is None else self._context - len(ids)
        if room <= 0:
            raise ContextOverflow(f"the prompt has {len(ids)} tokens, the context is {self._context}")
        if not ids:
            raise EngineError("the prompt has no tokens")
        limit = min(sampling.max_tokens, room)
        request = Request(asyncio.get_running_loop(), self.tokenizer, ids, sampling, limit, self._ends)
        self._enter(request)
        try:
            if warming is not None:
                request.shorten(await warming.wanted())
            while True:
                chunk = await request.next()
                yield chunk
                if chunk.finish is not None:
                    break
        finally:
            self._leave(request)
            if warming is not None:
                self._count_waste(request, warming)

    def _count_waste(self, request: Request, warming: Warming) -> None:
        """Count what a warmed request did in vain."""
        waste = warming.waste
        if warming.is_wanted:
            waste.tokens += request.wasted
        elif request.cached is not None:  # else it was not begun
            waste.add(request.prompt_length, request.cached, request.count)

    def _enter(self, request: Request) -> None:
        with self._counting:
            if not self._requests and self._given is not None:
                self._borrow(self._given)
            self._requests.add(request)
        # not at once: requests that begin together are then all made before the first step takes the processor
        request.loop.call_soon(self._submit, request)

    def _leave(self, request: Request) -> None:
        early, request.over = not request.over, True
        if early and request.ticket is not None and self._manager is not None:
            self._manager.cancel_request(request.ticket.id)
        with self._counting:
            self._requests.discard(request)
            if not self._requests and self._given is not None:
                # a step may still be at work for a stream that was closed early: its pages would hold nonsense
                with self._between_steps() if early else contextlib.nullcontext():
                    self._hand_back(self._given)

    @contextlib.contextmanager
    def _between_steps(self) -> Iterator[bool]:
        """Hold the manager before its next step; false where it does not run."""
        manager = self._manager
        with contextlib.ExitStack() as held:
            try:
                if manager is not None and manager.is_running():
                    held.enter_context(manager.pause())
                    running = True
                else:
                    running = False
            except RuntimeError:  # its thread ended before it could pause
                running = False
            yield running

    def _submit(self, request: Request) -> None:
        from relay_core.engines.transformers.sampler import Ticket, fail

        if request.over:
            return  # closed before it was submitted
        manager = self._manager
        request.ticket = Ticket(request, f"{next(self._numbers)}")
        refused = "it is closed" if manager is None else manager.background_thread_status.can_accept_new_requests()
        if manager is not None and refused is None:
            manager.add_request(
                request.ids,
                request_id=request.ticket.id,
                max_new_tokens=max(1, request.limit - request.count),
                eos_token_id=list(request.end_ids),
                ticket=request.ticket,
            )
            # the thread may have died between the question and the queue, where nobody would find the request
            refused = manager.background_thread_status.can_accept_new_requests()
        if refused is not None:
            cause = None if manager is None else manager.background_thread_status.fatal_error
            fail(request.ticket, cause or RuntimeError(refused))

    def _borrow(self, model: PreTrainedModel) -> None:
        """Put the owner's model in the state that generation needs."""
        self._was_training = model.training
        if self._was_training:
            model.eval()
        if self._attention != model.config._attn_implementation:
            self._own_attention = model.config._attn_implementation
            model.set_attn_implementation(self._attention)

    def _hand_back(self, model: PreTrainedModel) -> None:
        """Put the owner's model back in its own state."""
        if self._was_training:
            model.train()
        if self._own_attention != model.config._attn_implementation:
            model.set_attn_implementation(self._own_attention)

    # -- live weights --------------------------------------------------------------------------------------

    def weights_changed(self) -> None:
        """Forget the cache: the model's weights are not those it was filled with.

        Requests that run are begun anew behind what they have written.
        """
        with self.paused():
            pass

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold generation between two steps, so that the model can be changed in place.

        Inside, the model is in its owner's mode (train or eval) and has its own attention; on leaving, the cache
        is dropped. Not to be entered from inside itself.
        """
        from relay_core.engines.transformers import manager as managers

        manager = self._manager
        with self._between_steps() as running:
            lent = self._given if self._requests else None
            if lent is not None:
                self._hand_back(lent)
            try:
                yield
            finally:
                if lent is not None:
                    self._borrow(lent)
                if running and manager is self._manager and manager is not None:
                    managers.drop_cache(manager)
                    begun = [(r, r.ticket) for r in list(self._requests) if not r.over and r.ticket is not None]
                    for request, ticket in begun:
                        manager.cancel_request(ticket.id)
                        self._submit(request)

    def describe(self) -> dict[str, Any]:
        model = self._model
        about: dict[str, Any] = {**super().describe(), "running": self.running}
        if model is not None:
            about |= {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}
            about["parameters"] = sum(p.numel() for p in model.parameters())
        return about
