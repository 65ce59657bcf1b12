"""What the model of one engine takes of a device, told before it is loaded and as long as the engine is open."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from relay_core.engines.transformers import cache_size, memory
from relay_core.engines.transformers.footprint import Footprint, default_device, footprint_of
from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    import torch


class ModelMemory:
    """The memory of an engine's model.

    Args:
        source: a folder or a hub id; for an adapter, of its base.
        dtype, device: as for :class:`~relay_core.engines.transformers.TransformersEngine`.
        merges: whether an adapter is merged into the weights, which are then no pages of their file any more.
    """

    def __init__(self, source: str, dtype: str, device: str | None, *, merges: bool = False) -> None:
        self._source, self._dtype, self._device, self._merges = source, dtype, device, merges
        self._is_loaded = False
        memory.holders.add(self)

    @cached_property
    def device(self) -> torch.device:
        """Where the model is, or will be."""
        import torch

        return default_device() if self._device is None else torch.device(self._device)

    @cached_property
    def footprint(self) -> Footprint | None:
        """The model's sizes; ``None`` if its weights are not on this machine, or cannot be read."""
        folder = _folder(self._source)
        try:
            footprint = None if folder is None else footprint_of(folder, self._dtype)
        except ConfigurationError:  # loading the model says what is wrong
            return None
        return replace(footprint, is_mapped=False) if footprint is not None and self._merges else footprint

    def check(self) -> None:
        """Raise EngineError if the weights, which are to be loaded now, do not fit."""
        if self.footprint is not None:
            cache_size.check_weights(self.footprint, memory.free_bytes(self.device), str(self.device))

    def loaded(self) -> None:
        """Note that the weights are loaded."""
        self._is_loaded = True
        memory.holders.add(self)

    def closed(self) -> None:
        """Note that the weights are freed, and that nobody is expected to load them."""
        self._is_loaded = False
        memory.holders.discard(self)

    def held_bytes(self, device: torch.device) -> int:
        """Bytes that the model holds on ``device`` and that the system counts as free: pages of mapped files."""
        is_there = self._is_loaded and device.type == "cpu" == self.device.type
        return self.footprint.weights if is_there and self.footprint is not None and self.footprint.is_mapped else 0

    def expected_bytes(self, device: torch.device) -> int:
        """Bytes that the model will take on ``device`` when it is loaded; 0 once it is."""
        is_there = not self._is_loaded and (device.type, device.index or 0) == (
            self.device.type,
            self.device.index or 0,
        )
        return self.footprint.weights if is_there and self.footprint is not None else 0


def _folder(source: str) -> Path | None:
    """The folder of a model, or where the hub's cache has it."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(source, "config.json")
    return Path(config).parent if isinstance(config, str) else None
