"""A few of a base's weights, kept beside an adapter: they show whether a model of the same shape is the same base.

An adapter fits every model of its base's shape, such as the pretrained and the instruction-tuned one, and spoils the
answers of all but one. Weights are compared as bfloat16, so that the dtype in which the base is loaded does not matter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError

FILE = "base_sample.json"
_MATRICES, _VALUES = 16, 16  # sampled: matrices of the model, and values of each
_EQUAL = 0.9  # the least share of equal values of one model in two dtypes; float16 is rounded twice

Sample = dict[str, list[float]]


def sample_of(model: Any) -> Sample:
    """Values of some of the model's matrices, rounded to bfloat16, by the names of the matrices."""
    import torch

    matrices = [(name, tensor) for name, tensor in model.named_parameters() if tensor.ndim == 2]
    chosen = matrices[:: max(1, len(matrices) // _MATRICES)][:_MATRICES]
    return {name: _values(tensor.detach()).to(torch.bfloat16).tolist() for name, tensor in chosen}


def write(sample: Sample, folder: Path) -> None:
    """Write ``sample`` beside an adapter."""
    (folder / FILE).write_text(json.dumps(sample, indent=0), encoding="utf-8")


def read(folder: Path) -> Sample | None:
    """The sample beside an adapter; ``None`` if there is none, as beside the adapters of other programs.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        sample = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(name): [float(value) for value in values] for name, values in sample.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"{folder / FILE} cannot be read: {error}; delete it to skip its check") from error


def is_of(sample: Sample, model: Any) -> bool:
    """Whether ``model``, before an adapter is merged, has the weights that ``sample`` was taken from."""
    own = sample_of(model)
    pairs = [pair for name, values in sample.items() for pair in zip(values, own.get(name, []), strict=False)]
    return bool(pairs) and sum(a == b for a, b in pairs) >= _EQUAL * len(pairs)


def _values(matrix: Any) -> Any:
    flat = matrix.reshape(-1)
    return flat[:: max(1, flat.numel() // _VALUES)][:_VALUES].cpu()
