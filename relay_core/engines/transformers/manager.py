"""Starts, feeds, pauses and stops transformers' continuous batching manager.

The manager's thread is not a daemon, so a process would never end if the user forgot to close an engine. A watcher
thread therefore stops every running manager when the main thread ends. ``sampler.py`` holds the work within a step.

This module reads private attributes of transformers, because the manager has no public way to stop while it is paused,
to report how much of a prompt was cached, or to drop its cache. None of our other modules touches the manager.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList
from transformers.generation.continuous_batching.continuous_api import BackgroundThreadStatus

from relay_core.engines.base import LOG
from relay_core.engines.transformers import attention_setup, cache_size, memory
from relay_core.engines.transformers.footprint import footprint_of_model
from relay_core.engines.transformers.heads import LastHidden
from relay_core.engines.transformers.masks import Masks
from relay_core.engines.transformers.options import BatchingOptions
from relay_core.engines.transformers.request import Request, Ticket
from relay_core.engines.transformers.sampler import Router, Sampler
from relay_core.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.generation.continuous_batching import ContinuousBatchingManager

STOP_TIMEOUT_S = 60.0
# A manager's thread takes the interpreter lock for each small operation; other threads release it after this time.
SWITCH_INTERVAL_S = 0.0005


class Manager:
    """A running continuous batching manager with its cache.

    Args:
        model: a loaded model; its attention and its mode are changed for generation.
        options: sizes of the cache and of a step.
        end_ids: the model's end tokens.

    ``max_request_tokens`` is the most tokens that one request may have, including its prompt. ``unshared`` explains the
    cost if requests share no prefixes; ``None`` if they share them.

    Raises:
        ConfigurationError: an option cannot be used on the model's device, or a layer of the model cannot be served.
        EngineError: the cache could not be created.
    """

    def __init__(self, model: PreTrainedModel, options: BatchingOptions, end_ids: frozenset[int]) -> None:
        options.check_device(model.device.type)
        attention_setup.check_layers(model)
        sizes, device = footprint_of_model(model), model.device
        with memory.ALLOCATING:
            free = memory.free_bytes(device)
            expected = memory.expected_bytes(device)
            tokens = cache_size.cache_tokens(sizes, options, device.type, free=free, expected=expected)
            self._submitted, self._masks = _Submitted(), Masks(model.device)
            try:
                self._manager = _started(model, options, tokens, end_ids, self._submitted, self._masks)
            except Exception as error:
                hint = f"if memory is short, {cache_size.suggestion(sizes, free)}"
                raise EngineError(f"the cache for {tokens:,} tokens could not be made: {error}; {hint}") from error
            memory.caches[self] = tokens * sizes.token
        self.max_request_tokens: int = (self._manager.batch_processor.cache.num_blocks - 1) * options.page_size
        self.unshared = attention_setup.why_nothing_is_shared(self._manager.batch_processor.cache, model)
        _note_cached_tokens(self._manager)
        _watch(self._manager)
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))

    @property
    def thread(self) -> threading.Thread | None:
        """The thread that runs the steps."""
        thread: threading.Thread | None = self._manager._generation_thread
        return thread

    @property
    def scheduler(self) -> Any:
        """transformers' scheduler: the requests that wait and those that run."""
        return self._manager.batch_processor.scheduler

    @property
    def takes_requests(self) -> bool:
        """Whether the thread is running and has not been told to stop."""
        return bool(self._manager.is_running()) and self._refusal is None

    @property
    def _refusal(self) -> str | None:
        """The reason why a new request would be refused; ``None`` if it would be accepted."""
        reason: str | None = self._manager.background_thread_status.can_accept_new_requests()
        return reason

    def submit(self, request: Request) -> None:
        """Give the request a new ticket and queue it; if the manager has stopped, the request fails."""
        ticket = request.ticket = Ticket(request)
        self._submitted.add(request)
        if request.grammar is not None:
            self._masks.prepare([request.grammar])
        refusal = self._refusal
        if refusal is None:
            self._manager.add_request(
                request.ids,
                request_id=ticket.id,
                max_new_tokens=max(1, request.limit - request.sampled_count),
                eos_token_id=list(request.end_ids),
                ticket=ticket,
            )
            # If the thread died between the check and the queueing, nothing else would end the request.
            refusal = self._refusal
        if refusal is not None:
            ticket.fail(self._manager.background_thread_status.fatal_error or RuntimeError(refusal))

    def cancel(self, ticket: Ticket) -> None:
        """Cancel a submission before the next step."""
        self._manager.cancel_request(ticket.id)

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[bool]:
        """Hold the manager before its next step. Yields ``False`` if its thread is not running."""
        with contextlib.ExitStack() as stack:
            try:
                is_running = bool(self._manager.is_running())
                if is_running:
                    stack.enter_context(self._manager.pause())
            except RuntimeError:  # the thread ended before it could pause
                is_running = False
            yield is_running

    def drop_cache(self) -> None:
        """Forget all cached prefixes; call it only between steps. Running requests keep their pages."""
        cache = self._manager.batch_processor.cache
        cache.evict_cached_blocks()
        for allocator in cache.cache_allocators.values():
            allocator.ledger.hash_to_block.clear()
            allocator.ledger.block_to_hash.clear()

    def retire(self) -> None:
        """Stop the thread, even if it is paused; running requests fail immediately, without waiting for the step."""
        self._submitted.fail(RuntimeError("the engine was closed"), keep_unsent=False)
        _retire(self._manager)


def _started(
    model: PreTrainedModel,
    options: BatchingOptions,
    tokens: int,
    end_ids: frozenset[int],
    submitted: _Submitted,
    masks: Masks,
) -> ContinuousBatchingManager:
    """Start a manager whose cache holds ``tokens`` tokens; when its thread ends, the requests in ``submitted`` fail."""
    config = ContinuousBatchingConfig(
        page_size=options.page_size,
        num_blocks=max(2, -(-tokens // options.page_size)),
        max_batch_tokens=options.max_batch_tokens,
        max_requests_per_batch=min(options.max_requests, options.max_batch_tokens),
        use_cuda_graph=options.cuda_graphs,
        use_async_batching=options.async_batching,
        auto_switch_to_flash=False,
    )
    greedy = GenerationConfig(do_sample=False, eos_token_id=sorted(end_ids) or -1)
    attention_setup.uninstall(model)  # a manager that died may have left it, and transformers refuses to start with it
    manager = model.init_continuous_batching(generation_config=greedy, continuous_batching_config=config)
    processors = ContinuousBatchingLogitsProcessorList(
        LogitsProcessorList([Sampler(manager.cancel_request, model.device, masks, LastHidden(model))])
    )
    processors.tensors_required = 1
    manager.logit_processor = processors
    manager.output_router = Router()
    attention_setup.install(model)
    # torch's global random state belongs to the user, but the manager seeds it when it starts
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        # this allocates the cache in this thread, so that a failure is raised here
        with attention_setup.whole_sequences(manager):
            processor = manager.batch_processor = manager._create_batch_processor()
        attention_setup.serve(processor.cache, model)
        manager.warmup()
    manager._run_generation_loop = _failing_the_rest(manager._run_generation_loop, manager, submitted)
    manager.start()
    return manager


class _Submitted:
    """The requests of a manager that still have a reader. Can be used from any thread."""

    def __init__(self) -> None:
        self._requests: weakref.WeakSet[Request] = weakref.WeakSet()
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        """Note a request."""
        with self._lock:
            self._requests.add(request)

    def fail(self, cause: BaseException, *, keep_unsent: bool) -> None:
        """End every running request with an error; ``keep_unsent`` as for :meth:`Request.fail`."""
        with self._lock:
            requests = list(self._requests)
        for request in requests:
            if not request.is_over:
                request.fail(cause, keep_unsent=keep_unsent)


def _failing_the_rest(
    loop: Callable[..., None], manager: ContinuousBatchingManager, submitted: _Submitted
) -> Callable[..., None]:
    """The body of the manager's thread: run ``loop``, and then end all requests that are still waiting.

    transformers itself ends the running requests with an error, but not after a ``BaseException``, or if that fails.
    """

    def run(*arguments: Any, **options: Any) -> None:  # the arguments differ between versions of transformers
        cause: BaseException | None = None
        try:
            loop(*arguments, **options)
        except BaseException as error:
            LOG.exception("the thread of continuous batching died")
            cause = error
        cause = manager.background_thread_status.fatal_error or cause or RuntimeError("the engine was closed")
        submitted.fail(cause, keep_unsent=True)
        traceback.clear_frames(cause.__traceback__)  # the frames hold the cache

    return run


def _note_cached_tokens(manager: ContinuousBatchingManager) -> None:
    """Tell each request how much of its prompt was in the prefix cache, which the manager does not report."""
    processor = manager.batch_processor
    cache, scheduler = processor.cache, processor.scheduler
    search = cache.search_prefix_match

    def search_and_note(request_id: str, prompt_ids: list[int]) -> int:
        cached_tokens: int = search(request_id, prompt_ids)
        state = scheduler.waiting_requests.get(request_id)
        if state is not None:
            request = state.logit_processor_kwargs["ticket"].request
            if request.cached_tokens is None:
                request.cached_tokens = cached_tokens
        return cached_tokens

    cache.search_prefix_match = search_and_note


# -- stopping ----------------------------------------------------------------------------------------------


def _retire(manager: ContinuousBatchingManager) -> None:
    status, thread = manager.background_thread_status, manager._generation_thread
    if thread is None or not thread.is_alive():
        manager.batch_processor = None  # the cache
        return
    status.request_stop(BackgroundThreadStatus.HARD_STOP, 0)
    with status._condition:  # the thread that holds the pause may never release it
        status._pauses_requested, status._paused = 0, False
        status._condition.notify_all()
    manager._wake_up_loop.set()
    if thread is not threading.current_thread():  # the garbage collector may call this on the manager's own thread
        thread.join(STOP_TIMEOUT_S)
        manager.batch_processor = None


_running: weakref.WeakSet[Any] = weakref.WeakSet()
_watcher: threading.Thread | None = None
_watcher_pid = 0


def _watch(manager: ContinuousBatchingManager) -> None:
    """Arrange for the manager's thread to be stopped when the main thread ends."""
    global _watcher, _watcher_pid
    _running.add(manager)
    if _watcher is None or _watcher_pid != os.getpid():  # a forked child has no watcher yet
        _watcher = threading.Thread(target=_retire_all_at_exit, name="relay-engines", daemon=False)
        _watcher_pid = os.getpid()
        _watcher.start()


def _retire_all_at_exit() -> None:
    threading.main_thread().join()
    for manager in list(_running):
        _retire(manager)
