"""Installs our attention in a model while a manager serves it, and lays out the manager's cache for it.

For a layer with a sliding window, transformers' cache keeps only the keys inside the window, in a ring buffer that
requests cannot share. If a model has such a layer, transformers therefore shares no prefixes at all, and every
hand-over reads the whole context again. With our attention, the cache keeps all keys of all layers, as if each layer
attended to the whole sequence. Requests then share prefixes in whole pages, and the attention reads only the keys
inside the window. This takes more memory, which ``cache_size.py`` counts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from relay_core.engines.transformers.paged_attention import IN_PLACE_OF_EAGER, NAME
from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.generation.continuous_batching import ContinuousBatchingManager

#: the attention implementations that ours replaces
_REPLACES = {"sdpa": NAME, "eager": IN_PLACE_OF_EAGER, "paged|eager": IN_PLACE_OF_EAGER}
_RESTORES = {NAME: "sdpa", IN_PLACE_OF_EAGER: "eager", "paged|eager": "eager"}
_SUPPORTED_LAYERS = frozenset({"full_attention", "sliding_attention"})


def check_layers(model: PreTrainedModel) -> None:
    """Raise ConfigurationError if the model has layers that transformers' continuous batching cannot serve."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    if unknown := sorted(set(kinds) - _SUPPORTED_LAYERS):
        raise ConfigurationError(
            f"{type(model).__name__} has layers of {' and '.join(unknown)}, which transformers' continuous batching "
            "does not serve: serve the model with vLLM (vllm:, or openai: for its server)"
        )


def install(model: PreTrainedModel) -> None:
    """Make ``model`` use :func:`paged_attention` instead of ``sdpa`` or ``eager``."""
    config = model.config.get_text_config()
    attention = _REPLACES.get(model.config._attn_implementation)
    if attention is not None and not getattr(config, "use_bidirectional_attention", False):  # a causal model only
        model.set_attn_implementation(attention)


def uninstall(model: PreTrainedModel) -> None:
    """Undo :func:`install`, so that the model has an attention with which it can run without a manager."""
    attention = _RESTORES.get(model.config._attn_implementation)
    if attention is not None:
        model.set_attn_implementation(attention)


def is_installed(model: PreTrainedModel) -> bool:
    """Whether ``model`` uses :func:`paged_attention`."""
    return model.config._attn_implementation in (NAME, IN_PLACE_OF_EAGER)


def has_windows(model: PreTrainedModel) -> bool:
    """Whether some layer attends only to the last tokens."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    return getattr(config, "sliding_window", None) is not None if kinds is None else "sliding_attention" in kinds


@contextmanager
def whole_sequences(manager: ContinuousBatchingManager) -> Iterator[None]:
    """Make ``manager`` keep the keys of the whole sequence for every layer, if it creates its cache in this context.

    This has no effect unless the model uses our attention, since others rely on the usual cache of a sliding layer.
    """
    model = manager.model
    if is_installed(model):
        manager.model = _AllLayersFull(model)
    try:
        yield
    finally:
        manager.model = model


class _AllLayersFull:
    """The model as the manager sees it while it creates its cache: its config names no sliding layer."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.config = self

    def get_text_config(self) -> PretrainedConfig:
        """A copy of the model's config, in which all layers attend to the whole sequence."""
        config = copy.copy(self._model.config.get_text_config())
        vars(config).update(layer_types=None, sliding_window=None)  # setattr would check them against each other
        return config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def serve(cache: Any, model: PreTrainedModel) -> None:
    """Make ``cache``, transformers' paged cache, available to :func:`paged_attention` if the model uses it.

    From transformers 5.24 on, a layer calls ``cache.update(key, value, layer, kwargs=kwargs)``, which writes the new
    keys, gathers the keys of all requests, and passes on only ``kwargs``. :func:`paged_attention` writes and gathers
    keys itself. The ``update`` that is installed here therefore adds the cache to ``kwargs``, and returns the new keys
    and values unchanged.
    """
    if not is_installed(model):
        return

    def update(key_states: Any, value_states: Any, layer_idx: int, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        kwargs["cache"] = cache
        return key_states, value_states

    cache.update = update


def why_nothing_is_shared(cache: Any, model: PreTrainedModel) -> str | None:
    """A message that explains the cost if ``cache`` shares no prefixes between requests; ``None`` if it shares them."""
    if cache.use_prefix_sharing:
        return None
    attention = model.config._attn_implementation
    return (
        f"with the attention {attention!r}, nothing of a prompt of {type(model).__name__} is kept between requests, "
        "because it has layers with a sliding window: each hand-over reads the whole context again. "
        "Load the model with attn_implementation='sdpa', or serve it with vLLM (vllm:, or openai: for its server)"
    )
