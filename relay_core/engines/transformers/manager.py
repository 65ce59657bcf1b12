"""The continuous batching manager: sized, started, paused, and stopped for certain.

Its thread is not a daemon, so a process whose user forgot to close an engine would never end; a watcher stops what
still runs when the main thread is done. What happens inside a step is in ``sampler.py``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList
from transformers.generation.continuous_batching.continuous_api import BackgroundThreadStatus

from relay_core.engines.transformers import paged_attention
from relay_core.engines.transformers.sampler import Router, Sampler
from relay_core.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.generation.continuous_batching import ContinuousBatchingManager

SESSIONS, MEAN_TOKENS = 128, 512  # an automatic cache holds so many requests of so many tokens, or one whole context
STOP_TIMEOUT_S = 60.0
SWITCH_S = 0.0005  # a manager's thread takes the interpreter's lock for each small operation; others let go so often


def start_manager(
    model: PreTrainedModel,
    *,
    page_size: int,
    cache_tokens: int | None,
    cache_gib: float | None,
    max_batch_tokens: int,
    max_requests: int,
    end_ids: frozenset[int],
) -> tuple[ContinuousBatchingManager, int]:
    """A running manager for ``model``, and how many tokens one request may have.

    Raises:
        EngineError: the cache could not be made.
    """
    tokens = cache_tokens or _automatic_tokens(model, cache_gib)
    config = ContinuousBatchingConfig(
        page_size=page_size,
        num_blocks=max(2, -(-tokens // page_size)),
        max_batch_tokens=max_batch_tokens,
        max_requests_per_batch=min(max_requests, max_batch_tokens),
        use_cuda_graph=False,
        use_async_batching=False,
        auto_switch_to_flash=False,
    )
    greedy = GenerationConfig(do_sample=False, eos_token_id=sorted(end_ids) or -1)
    try:
        manager = model.init_continuous_batching(generation_config=greedy, continuous_batching_config=config)
        processors = ContinuousBatchingLogitsProcessorList(
            LogitsProcessorList([Sampler(manager.cancel_request, model.device)])
        )
        processors.tensors_required = 1
        manager.logit_processor = processors
        manager.output_router = Router()
        if paged_attention.suits(model):
            model.set_attn_implementation(paged_attention.NAME)
        with _users_random_state(model.device):
            manager.warmup()  # makes the cache here, so that what goes wrong is raised here
        cache = manager.batch_processor.cache
        manager.start()
    except Exception as error:
        raise EngineError(f"the cache for {tokens} tokens could not be made: {error}") from error
    _note_cached(manager)
    _watch(manager)
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_S))
    return manager, (cache.num_blocks - 1) * page_size


def _automatic_tokens(model: PreTrainedModel, cache_gib: float | None) -> int:
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_per_token = 2 * config.num_hidden_layers * heads * head_dim * model.dtype.itemsize
    context = getattr(config, "max_position_embeddings", None) or MEAN_TOKENS
    wanted: int = max(context, SESSIONS * MEAN_TOKENS)
    limit = _free_bytes(model.device) if cache_gib is None else cache_gib * 2**30
    return int(min(wanted, limit // bytes_per_token))


def _free_bytes(device: torch.device) -> float:
    """What a cache may take of the device's memory; of the machine's, physical memory in all (a part is in use)."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return 0.7 * free
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return 0.15 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 2.0 * 2**30


@contextlib.contextmanager
def _users_random_state(device: torch.device) -> Iterator[None]:
    """The manager seeds torch's global generator as it starts; give the user's back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _note_cached(manager: ContinuousBatchingManager) -> None:
    """Tell each request how much of its prompt the prefix cache had: the manager does not say."""
    processor = manager.batch_processor
    cache, scheduler = processor.cache, processor.scheduler
    search = cache.search_prefix_match

    def search_and_note(request_id: str, prompt_ids: list[int]) -> int:
        found: int = search(request_id, prompt_ids)
        state = scheduler.waiting_requests.get(request_id)
        if state is not None:
            request = state.logit_processor_kwargs["ticket"].request
            if request.cached is None:
                request.cached = found
        return found

    cache.search_prefix_match = search_and_note


def drop_cache(manager: ContinuousBatchingManager) -> None:
    """Forget every cached prefix; only while the manager is paused. Pages of running requests stay theirs."""
    cache = manager.batch_processor.cache
    cache.evict_cached_blocks()
    for allocator in cache.cache_allocators.values():
        allocator.ledger.hash_to_block.clear()
        allocator.ledger.block_to_hash.clear()


def retire(manager: ContinuousBatchingManager) -> None:
    """Stop the manager's thread now, a paused one too; what still runs fails."""
    status, thread = manager.background_thread_status, manager._generation_thread
    if thread is None or not thread.is_alive():
        return
    status.request_stop(BackgroundThreadStatus.HARD_STOP, 0)
    with status._condition:  # whoever holds a pause may never come back for it
        status._pauses_requested, status._paused = 0, False
        status._condition.notify_all()
    manager._wake_up_loop.set()
    if thread is not threading.current_thread():  # the garbage collector may come by there
        thread.join(STOP_TIMEOUT_S)
        manager.batch_processor = None


_running: weakref.WeakSet[Any] = weakref.WeakSet()
_watcher: threading.Thread | None = None
_watcher_pid = 0


def _watch(manager: ContinuousBatchingManager) -> None:
    """See to it that the manager's thread ends with the main thread."""
    global _watcher, _watcher_pid
    _running.add(manager)
    if _watcher is None or _watcher_pid != os.getpid():
        _watcher, _watcher_pid = (
            threading.Thread(target=_stop_all_at_exit, name="relay-engines", daemon=False),
            os.getpid(),
        )
        _watcher.start()


def _stop_all_at_exit() -> None:
    threading.main_thread().join()
    for manager in list(_running):
        retire(manager)
