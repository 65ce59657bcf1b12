"""LoRA adapters in peft's format: checked before anything heavy is loaded, and merged into the weights of their base.

A merged model decodes as fast as a whole one, and every engine reads the same weights. Only safetensors are read. An
adapter is trained for one base: tensors that do not fit are an error, since peft skips tensors that it cannot place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core import extras
from relay_core.engines import base_sample, model_folder
from relay_core.engines.base import LOG
from relay_core.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = model_folder.ADAPTER_CONFIG, "adapter_model.safetensors"
NAME = "default"  # peft's name of the adapter that it trains and saves in the folder itself
BASE_VARIABLE = "RELAY_ADAPTER_BASE"
HOW_TO_NAME_A_BASE = (
    f"name it as base=PATH_OR_ID, behind a spec as ?base=PATH_OR_ID, or in the environment as {BASE_VARIABLE}"
)


def is_adapter(folder: Path) -> bool:
    """Whether ``folder`` holds an adapter."""
    return (folder / CONFIG).is_file()


def check_adapter(folder: Path) -> dict[str, Any]:
    """The adapter's config, if the folder can be used.

    Raises:
        ConfigurationError: the config cannot be read or is no LoRA adapter's, or there are no safetensors.
    """
    if any((folder / name).is_file() for name in ("model.safetensors", model_folder.INDEX)):
        raise ConfigurationError(
            f"{folder} holds an adapter and a whole model: move {CONFIG} and {WEIGHTS} to a folder of their own"
        )
    config = model_folder.read_object(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise ConfigurationError(
            f"{folder} is an adapter of the kind {config.get('peft_type')!r}; only LORA adapters are loaded: merge it "
            "into its base first (merge_and_unload, then save_pretrained)"
        )
    if not (folder / WEIGHTS).is_file():
        others = ", ".join(sorted(path.name for path in folder.glob("adapter_model.*"))) or "nothing"
        raise ConfigurationError(
            f"{folder} has no {WEIGHTS} but {others}; only safetensors are read (they run no code): save the adapter "
            "again with save_pretrained(folder)"
        )
    return config


def base_of(folder: Path, base: str | None = None) -> str:
    """The folder or hub id of the base of an adapter.

    ``base`` takes precedence over the environment variable, and that over the name in the adapter's config.

    Raises:
        ConfigurationError: no base is named, or it is no whole model.
    """
    config = check_adapter(folder)
    named = config.get("base_model_name_or_path")
    source = base or os.environ.get(BASE_VARIABLE, "").strip() or named
    if not isinstance(source, str) or not source:
        raise ConfigurationError(f"{folder} is an adapter that names no base: {HOW_TO_NAME_A_BASE}")
    try:
        path = model_folder.check_source(source, tokenizer=False)
    except ConfigurationError as error:
        trained_on = "" if source == named else f", which was trained on {named}"
        raise ConfigurationError(
            f"the base of the adapter {folder}{trained_on}: {error}; if the base lies elsewhere, {HOW_TO_NAME_A_BASE}"
        ) from error
    return str(path or source)


def merged(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """``model`` with the adapter in ``folder`` merged into its weights, in place.

    The sum is rounded once, to the dtype of the model.

    Raises:
        ConfigurationError: the adapter does not fit the model.
        MissingExtraError: peft is not installed.
    """
    wrapped = attach(model, folder)
    plain: PreTrainedModel = wrapped.merge_and_unload(adapter_names=[NAME])
    return plain.eval().requires_grad_(False)


def attach(model: PreTrainedModel, folder: Path, *, wrapper: Any = None, is_trainable: bool = False) -> Any:
    """A peft model around ``model``, with the weights of the adapter in ``folder``.

    Args:
        model: the base.
        folder: the adapter's folder.
        wrapper: a class derived from ``peft.PeftModelForCausalLM``, to build instead of it.
        is_trainable: whether the adapter's weights are trained.

    Raises:
        ConfigurationError: the adapter does not fit the model.
        MissingExtraError: peft is not installed.
    """
    peft = import_peft()
    check_adapter(folder)
    _check_vocabulary(model, folder)
    sample = base_sample.read(folder)
    is_its_base = sample is None or base_sample.is_of(sample, model)
    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
        config.inference_mode = not is_trainable
        wrapped = (wrapper or peft.PeftModelForCausalLM)(model, config, adapter_name=NAME)
        _check_tensors(wrapped, folder)
        wrapped.load_adapter(str(folder), NAME, is_trainable=is_trainable, torch_device="cpu")
    except ConfigurationError:
        raise
    except Exception as error:  # peft raises ValueError, RuntimeError, KeyError, SafetensorError, ...
        raise _misfit(folder, model_folder.first_line(error)) from error
    if not is_its_base:
        LOG.warning(
            "the adapter %s was trained on other weights than those of this base, which has the same shape: it was "
            "trained on %s",
            folder,
            config.base_model_name_or_path,
        )
    return wrapped


def import_peft() -> Any:
    """The package peft; raises MissingExtraError if it is not installed."""
    try:
        with extras.importing():
            import peft
    except ImportError as error:
        raise MissingExtraError("a LoRA adapter (peft)", "local") from error
    return peft


def _check_tensors(wrapped: Any, folder: Path) -> None:
    """Raise ConfigurationError unless the file has exactly the tensors that the wrapped model needs."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    state = get_peft_model_state_dict(wrapped, adapter_name=NAME, save_embedding_layers=False)
    needed = {name: tuple(tensor.shape) for name, tensor in state.items()}
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    whole = {name: tuple(tensor.shape) for name, tensor in wrapped.state_dict().items()}  # embeddings saved beside
    for name, shape in stored.items():
        expected = needed.get(name, whole.get(name))
        if expected is None:
            raise _misfit(folder, f"the base has no place for its tensor {name}")
        if shape != expected:
            raise _misfit(folder, f"its tensor {name} has the shape {shape}, where the base needs {expected}")
    if missing := sorted(needed.keys() - stored.keys()):
        raise _misfit(folder, f"it lacks {len(missing)} tensors for the layers of the base, such as {missing[0]}")


def _check_vocabulary(model: PreTrainedModel, folder: Path) -> None:
    """Raise ConfigurationError if the tokenizer beside the adapter has ids that the base has no embedding for."""
    if not model_folder.has_tokenizer(folder):
        return
    count, rows = len(model_folder.load_tokenizer(str(folder)).hf), model.get_input_embeddings().weight.shape[0]
    if count > rows:
        raise _misfit(folder, f"its tokenizer has {count} tokens, the embedding of the base {rows}")


def _misfit(folder: Path, why: str) -> ConfigurationError:
    named = model_folder.read_object(folder / CONFIG).get("base_model_name_or_path")
    return ConfigurationError(
        f"the adapter {folder} does not fit this base: {why}; it was trained on {named}: {HOW_TO_NAME_A_BASE}"
    )
