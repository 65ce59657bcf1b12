"""A student's weights: the folder that an engine spec names, the model loaded from it, and an engine on the model.

With a recipe's section ``lora``, the model is a base with an adapter, of which only the adapter is trained
(``adapter_model.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.engines import adapter_folder
from relay_core.engines.model_folder import INDEX, replacing, save_model
from relay_core.engines.model_source import ModelSource
from relay_core.engines.spec import EngineSpec, Scheme, without_secrets
from relay_core.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from relay_core.engines.transformers import TransformersEngine
    from relay_core.train.recipe import Lora


def folder_of(spec: str) -> str:
    """The folder or hub id of a student to train; a bare ``bundled`` means ``bundled:student-base``.

    Raises:
        ConfigurationError: the spec names a model that cannot be trained in this process.
    """
    parsed = EngineSpec.parse(spec)
    if parsed == EngineSpec(Scheme.BUNDLED, ""):
        parsed = EngineSpec(Scheme.BUNDLED, "student-base")
    if parsed.scheme not in (Scheme.BUNDLED, Scheme.TRANSFORMERS):
        raise ConfigurationError(
            f"student {without_secrets(spec)!r} cannot be trained here: write bundled:NAME, transformers:PATH_OR_ID or "
            "a path"
        )
    return parsed.source


def load(folder: str, *, dtype: str = "float32") -> tuple[Any, Any]:
    """Load a causal language model, and its tokenizer.

    It reads safetensors only, and runs no code from the folder.

    Args:
        folder: the folder or hub id of a whole model.
        dtype: the dtype of the weights.

    Raises:
        ConfigurationError: no model can be read from the folder.
        MissingExtraError: the training packages are not installed.
    """
    require_extra()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"no model could be read from {folder}: {error}") from error
    return model, tokenizer


def trainable(folder: str, lora: Lora, *, seed: int = 0, base: str | None = None) -> tuple[Any, Any]:
    """Load a student to train, and its tokenizer.

    Args:
        folder: the folder or hub id of a whole model, or an adapter's folder, whose adapter is trained on.
        lora: the recipe's section. If its rank is 0, all weights are trained; otherwise only an adapter.
        seed: decides the initial weights of a new adapter.
        base: the folder or hub id of the base, if ``folder`` is an adapter's; ``None`` means the one that it names.

    Raises:
        ConfigurationError: no model can be read from the folder, or the adapter and the recipe do not fit.
        MissingExtraError: the training packages are not installed.
    """
    require_extra()
    path = Path(folder).expanduser()
    if not adapter_folder.is_adapter(path):
        if not lora.r:
            return load(folder)
        adapter_folder.import_peft()
        model, tokenizer = load(folder, dtype=lora.dtype)
        from relay_core.train import adapter_model

        name = lora.base or (str(path.resolve()) if path.is_dir() else folder)
        return adapter_model.fresh(model, lora, name=name, seed=seed), tokenizer
    if not lora.r:
        raise ConfigurationError(f"{folder} is an adapter, and lora.r is 0: write the adapter's rank, to train it on")
    adapter_folder.import_peft()
    from relay_core.train import adapter_model

    source = ModelSource.of(folder, base)
    model, _ = load(source.weights, dtype=lora.dtype)
    return adapter_model.resumed(model, path, lora), source.load_tokenizer().hf


def save(model: Any, tokenizer: Any, folder: Path, lora: Lora) -> None:
    """Write a trained student, completely or not at all.

    With ``lora.merge``, an adapter is merged into the weights of ``model``, which cannot be used any more; without it,
    the adapter is written alone.
    """
    if lora.r and not lora.merge:
        with replacing(folder) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    else:
        save_model(model.merged() if lora.r else model, tokenizer, folder)


def base_of(folder: str) -> str | None:
    """The base of an adapter's folder; ``None`` for a whole model.

    Raises:
        ConfigurationError: the adapter's base is not there.
    """
    path = Path(folder).expanduser()
    return adapter_folder.base_of(path) if adapter_folder.is_adapter(path) else None


def require_extra() -> None:
    """Raise MissingExtraError unless the packages of the extra ``train`` are installed."""
    from importlib.util import find_spec

    for package in ("torch", "transformers", "trl", "datasets", "accelerate"):
        if find_spec(package) is None:
            raise MissingExtraError(f"training ({package})", "train")


def quiet() -> None:
    """Turn off transformers' progress bars, and TRL's warning about vLLM, which training does not use."""
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM")


def engine_on(model: Any, tokenizer: Any, name: str) -> TransformersEngine:
    """An engine on live weights, which generates with the current weights of ``model``; errors show ``name``."""
    from relay_core.engines.transformers import TransformersEngine

    return TransformersEngine(model, tokenizer=tokenizer, spec=name)


def is_saved(folder: Path) -> bool:
    """Whether the folder holds a student that :func:`save` wrote."""
    return any((folder / name).is_file() for name in ("model.safetensors", INDEX, adapter_folder.WEIGHTS))
