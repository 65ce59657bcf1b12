"""What a model takes in memory, found out from its folder before anything is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core import extras
from relay_core.engines import model_folder
from relay_core.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    import torch

GIB = 2**30
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # safetensors' names; loading converts only these


@dataclass(frozen=True, slots=True)
class Footprint:
    """The sizes of a model.

    ``weights``: bytes of the weights once loaded. ``is_mapped``: they are loaded as they are stored, so that on a CPU
    they remain pages of the file, which the system counts as free memory. ``token``: bytes of the keys and values of
    one token over all layers. ``context``: tokens, ``None`` if the config states none.
    """

    weights: int
    is_mapped: bool
    token: int
    context: int | None


def footprint_of(folder: Path, dtype: str) -> Footprint:
    """The footprint of the model in ``folder``.

    Args:
        folder: a model folder with safetensors.
        dtype: as for :class:`~relay_core.engines.transformers.TransformersEngine`.

    Raises:
        ConfigurationError: the config or the weights cannot be read.
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        with extras.importing():
            import torch
            from transformers import AutoConfig
    except ImportError as error:
        raise MissingExtraError("a model in this process (torch and transformers)", "local") from error

    tensors = [tensor for path in _weight_files(folder) for tensor in _tensors(path)]
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        raise ConfigurationError(f"{folder / 'config.json'} cannot be used: {error}") from error
    stored = {name for name, _, _ in tensors if name in _FLOATS}
    loaded = getattr(config, "dtype", None) if dtype == "auto" else dtype
    if isinstance(loaded, str):
        loaded = getattr(torch, loaded)
    itemsize: int = loaded.itemsize if loaded is not None else max(map(_FLOATS.__getitem__, stored), default=4)
    weights = sum(count * itemsize if name in _FLOATS else size for name, count, size in tensors)
    is_mapped = all(_FLOATS[name] == itemsize for name in stored)
    return Footprint(weights, is_mapped, token_bytes(config, itemsize), context_of(config))


def footprint_of_model(model: Any) -> Footprint:
    """The footprint of a model that is loaded."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
    return Footprint(weights, False, token_bytes(model.config, model.dtype.itemsize), context_of(model.config))


def token_bytes(config: Any, itemsize: int) -> int:
    """Bytes of the keys and values of one token, over all layers of a model with this config."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * head_dim * itemsize)


def context_of(config: Any) -> int | None:
    """The context length in tokens that a config states; ``None`` if it states none."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def _weight_files(folder: Path) -> list[Path]:
    index, whole = folder / model_folder.INDEX, folder / "model.safetensors"
    if index.is_file():
        return [folder / name for name in model_folder.shards_in(index)]
    return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))


def _tensors(path: Path) -> Iterator[tuple[str, int, int]]:
    """The tensors of a safetensors file: dtype, number of elements and bytes; from the header alone."""
    try:
        with path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                begin, end = tensor["data_offsets"]
                yield tensor["dtype"], math.prod(tensor["shape"]), end - begin
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise ConfigurationError(f"{path} is not a safetensors file: {error}") from error


def default_device() -> torch.device:
    """The device of an engine that names none."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
