"""A head: a logistic regression or an MLP of two layers on a model's last hidden state and a few features of its
distribution.

    head.safetensors   mean and scale, each of shape [hidden size + features]; weight, of the same shape; bias, of shape
                       [1]. With a first layer: layer_weight, of shape [units, hidden size + features], and layer_bias,
                       of shape [units]; then weight has the shape [units].
    head.json          the format, the features, the student that the head was fitted to, and how good it is

The hidden state is the input of the model's output embedding. The features are those of the model's own distribution
(temperature 1, no cut-offs, no constraint). Each input is normalised to (x - mean) / scale. The first layer ends in a
rectifier, max(0, x).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORMAT, TWO_LAYERS = 1, 2  # of a head without and with a first layer
WEIGHTS, CARD = "head.safetensors", "head.json"
#: of the likeliest token; of the whole distribution, in nats; between the two likeliest; of the sampled token
FEATURES = ("top_probability", "entropy", "margin", "logprob")
_TENSORS = ("weight", "bias", "mean", "scale")


class Layer(NamedTuple):
    """The first of two layers: ``weight``, shape [units, hidden size + features]; ``bias``, shape [units]."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True, eq=False)
class Head:
    """A head in memory.

    ``mean``, ``scale``: float32, shape [hidden size + features]; ``weight``: the same, or [units] behind a first
    ``layer``; ``bias``: shape [1]. ``student``: the model that it was fitted to (:func:`facts_of`). ``card``: what else
    ``head.json`` holds, such as AUCs.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    student: Mapping[str, Any]
    card: Mapping[str, Any] = field(default_factory=dict)
    layer: Layer | None = None

    @property
    def hidden_size(self) -> int:
        """The size of the hidden state that the head reads."""
        return len(self.mean) - len(FEATURES)

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """The probability of a wrong token.

        Args:
            inputs: hidden states and features, shape [tokens, hidden size + features].
        """
        values = (inputs.float() - self.mean) / self.scale
        if self.layer is not None:
            values = (values @ self.layer.weight.T + self.layer.bias).relu()
        return (values @ self.weight + self.bias).sigmoid()

    @property
    def _tensors(self) -> dict[str, torch.Tensor]:
        layer = {} if self.layer is None else {f"layer_{name}": t for name, t in self.layer._asdict().items()}
        return {**{name: getattr(self, name) for name in _TENSORS}, **layer}

    @property
    def _sizes_agree(self) -> bool:
        """Whether the shapes of all tensors belong together, with ``mean`` as the measure."""
        size = self.mean.shape
        read = size if self.layer is None else self.layer.bias.shape
        fits_layer = self.layer is None or self.layer.weight.shape == (*read, *size)
        return fits_layer and len(size) == len(read) == 1 and (self.scale.shape, self.weight.shape) == (size, read)

    def check_fits(self, model: PreTrainedModel, folder: str) -> None:
        """Raise ConfigurationError if the head was fitted to another kind of model."""
        facts = facts_of(model)
        if any(self.student.get(name) != value for name, value in facts.items()):
            raise ConfigurationError(
                f"the head {folder} was fitted to a student with {_shown(self.student)}; this one has {_shown(facts)}: "
                "write the head of this student, or fit one (relay tune --trigger hidden)"
            )

    def save(self, folder: Path) -> None:
        """Write the head into ``folder``; ``head.json`` comes last, so that a folder with it is complete."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.cpu().contiguous() for name, tensor in self._tensors.items()}, folder / WEIGHTS)
        version = FORMAT if self.layer is None else TWO_LAYERS
        card = {
            "format": version,
            "hidden_size": self.hidden_size,
            "features": FEATURES,
            "normalisation": "mean, scale",
        }
        text = json.dumps({**card, "student": dict(self.student), **self.card}, indent=1)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")


def load_head(folder: str | Path, device: str = "cpu") -> Head:
    """Read a head; only safetensors and JSON are read, which run no code.

    Raises:
        ConfigurationError: the folder holds no head that this version can use.
    """
    from safetensors.torch import load_file

    path = Path(folder).expanduser()
    advice = "write a folder that relay tune --trigger hidden or python -m relay_core.evaluate.citer train has made"
    if not (path / CARD).is_file():
        raise ConfigurationError(f"there is no head in {folder} ({CARD} and {WEIGHTS}): {advice}")
    try:
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
        found = {name: card[name] for name in ("format", "features", "student", "hidden_size")}
        if found["format"] not in (FORMAT, TWO_LAYERS) or tuple(found["features"]) != FEATURES:
            raise ConfigurationError(
                f"the head {folder} has format {found['format']} and the features {found['features']}, not {FORMAT} "
                f"or {TWO_LAYERS} and {list(FEATURES)}: fit it again (relay tune --trigger hidden)"
            )
        tensors = {name: tensor.float() for name, tensor in load_file(path / WEIGHTS, device).items()}
        has_layer = found["format"] == TWO_LAYERS
        layer = Layer(tensors["layer_weight"], tensors["layer_bias"]) if has_layer else None
        parts = {name: tensors[name] for name in _TENSORS}
        head = Head(**parts, student=dict(found["student"]), card=card, layer=layer)
    except ConfigurationError:
        raise
    except Exception as error:  # of JSON, of the file system, or one of safetensors' own
        raise ConfigurationError(f"the head {folder} cannot be read ({type(error).__name__}: {error}): {advice}") from (
            error
        )
    if not head._sizes_agree or head.bias.shape != (1,) or head.hidden_size != found["hidden_size"]:
        raise ConfigurationError(f"the weights of the head {folder} do not have the size in {CARD}: {advice}")
    if not all(tensor.isfinite().all() for tensor in head._tensors.values()) or not head.scale.all():
        raise ConfigurationError(f"the weights of the head {folder} are not finite numbers: {advice}")
    return head


def facts_of(model: PreTrainedModel) -> dict[str, Any]:
    """What a head must agree with: the kind of model, the size of its last hidden state, and of its vocabulary.

    Raises:
        ConfigurationError: the model has no output embedding.
    """
    embedding = model.get_output_embeddings()
    if embedding is None:
        raise ConfigurationError(f"{type(model).__name__} has no output embedding, whose input a head could read")
    size = getattr(embedding, "in_features", None) or embedding.weight.shape[1]
    vocabulary = getattr(embedding, "out_features", None) or embedding.weight.shape[0]
    return {"model_type": model.config.model_type, "hidden_size": int(size), "vocabulary_size": int(vocabulary)}


def distribution_features(logprobs: torch.Tensor) -> torch.Tensor:
    """The features but ``logprob``: shape [tokens, 3], from log-probabilities of shape [tokens, vocabulary]."""
    probabilities = logprobs.exp()
    first, second = probabilities.topk(2, dim=-1).values.unbind(-1)
    return torch.stack([first, torch.special.entr(probabilities).sum(-1), first - second], -1)


def _shown(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if name != "spec")
