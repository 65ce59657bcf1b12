"""The options of batching and of the paged cache; they are checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from relay_core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """These options of :class:`~relay_core.engines.transformers.TransformersEngine`, under the same names.

    Raises:
        ConfigurationError: a value is not a whole number, or is too small.
    """

    page_size: int
    cache_tokens: int | None
    cache_gib: float | None
    max_batch_tokens: int
    max_requests: int
    cuda_graphs: bool
    async_batching: bool

    def __post_init__(self) -> None:
        for name, least in (("page_size", 4), ("max_batch_tokens", 1), ("max_requests", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ConfigurationError(f"{name} is {value!r}: write a whole number, {least} or more")

    def check_device(self, device_type: str) -> None:
        """Raise ConfigurationError if an option cannot be used on a device such as ``"cpu"``."""
        for name in ("cuda_graphs", "async_batching"):
            if getattr(self, name) and device_type != "cuda":
                raise ConfigurationError(f"{name} is True, but the model is on {device_type!r}: it needs a CUDA device")
