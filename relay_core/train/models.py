"""A student's weights: the folder that an engine spec names, the model loaded from it, and an engine on the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.engines.spec import EngineSpec, Scheme, without_secrets
from relay_core.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from relay_core.engines.transformers import TransformersEngine


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


def load(folder: str) -> tuple[Any, Any]:
    """Load a causal language model in float32, and its tokenizer.

    It reads safetensors only, and runs no code from the folder.

    Raises:
        ConfigurationError: no model can be read from the folder.
        MissingExtraError: the training packages are not installed.
    """
    require_extra()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype="float32", use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"no model could be read from {folder}: {error}") from error
    return model, tokenizer


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
    """Whether the folder holds a model that ``save_model`` wrote."""
    return (folder / "model.safetensors").is_file()
