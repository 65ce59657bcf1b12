"""A student's weights: the folder that an engine spec names, the model loaded from it, and an engine on the model.

With a recipe's section ``lora``, the model is a base with an adapter, of which only the adapter is trained
(``adapter_model.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from relay_core import portal
from relay_core.engines import adapter_folder
from relay_core.engines.model_folder import INDEX, save_model
from relay_core.engines.model_source import ModelSource
from relay_core.engines.spec import EngineSpec, Scheme, engine_from_spec, without_secrets
from relay_core.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from relay_core.engines.base import Engine
    from relay_core.engines.transformers import TransformersEngine
    from relay_core.tokenizer import Tokenizer
    from relay_core.train.sections import Lora

E = TypeVar("E", bound="Engine | None")

ROOM = {"max_batch_tokens": 1024, "cache_tokens": 128 * 512}
"""Options of an engine in this process that has a cache with room for a rollout's requests."""


def folder_of(spec: str) -> str:
    """The folder or hub id of a student to train; a bare ``bundled`` means ``bundled:student-base``.

    Raises:
        ConfigurationError: the spec names a model that cannot be trained in this process.
    """
    return _student(spec).source


def _student(spec: str) -> EngineSpec:
    parsed = EngineSpec.parse(spec)
    if parsed == EngineSpec(Scheme.BUNDLED, ""):
        parsed = EngineSpec(Scheme.BUNDLED, "student-base")
    if parsed.scheme not in (Scheme.BUNDLED, Scheme.TRANSFORMERS):
        raise ConfigurationError(
            f"student {without_secrets(spec)!r} cannot be trained here: write bundled:NAME, transformers:PATH_OR_ID or "
            "a path"
        )
    return parsed


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


def base_of(spec: str) -> str:
    """The folder or hub id of the whole model below a student: the base of an adapter, or the student itself.

    Raises:
        ConfigurationError: an adapter's base is not there, or the student cannot be trained in this process.
    """
    folder = folder_of(spec)
    if not adapter_folder.is_adapter(Path(folder).expanduser()):
        return folder
    base = dict(EngineSpec.parse(spec).options).get("base")
    return adapter_folder.base_of(Path(folder).expanduser(), None if base is None else str(base))


def tokenizer_of(spec: str) -> Tokenizer:
    """The tokenizer of a student to train.

    Raises:
        ConfigurationError: it cannot be read, or the student cannot be trained in this process.
    """
    folder, base = folder_of(spec), base_of(spec)
    return ModelSource.of(folder, None if base == folder else base).load_tokenizer()


def trainable(folder: str, lora: Lora, base: str, *, seed: int) -> tuple[Any, Any]:
    """Load a student to train, and its tokenizer.

    Args:
        folder: the folder or hub id of a whole model, or an adapter's folder, whose adapter is trained on.
        lora: the recipe's section. If its rank is 0, all weights are trained; otherwise only an adapter.
        base: the folder or hub id of the adapter's base, if ``folder`` is an adapter's.
        seed: decides the initial weights of a new adapter.

    Raises:
        ConfigurationError: no model can be read from the folder, or the adapter and the recipe do not fit.
        MissingExtraError: the training packages are not installed.
    """
    require_extra()
    path = Path(folder).expanduser()
    if not adapter_folder.is_adapter(path):
        model, tokenizer = load(folder, dtype=lora.dtype if lora.r else "float32")
        return (_with_adapter(model, folder, lora, seed) if lora.r else model), tokenizer
    if not lora.r:
        raise ConfigurationError(f"{folder} is an adapter, and lora.r is 0: write the adapter's rank, to train it on")
    adapter_folder.import_peft()
    from relay_core.train import adapter_model

    model, _ = load(base, dtype=lora.dtype)
    return adapter_model.resumed(model, path, lora, source=base), ModelSource.of(folder, base).load_tokenizer().hf


def _with_adapter(model: Any, folder: str, lora: Lora, seed: int) -> Any:
    adapter_folder.import_peft()
    from relay_core.train import adapter_model

    name = str(Path(folder).expanduser().resolve()) if Path(folder).expanduser().is_dir() else folder
    return adapter_model.fresh(model, lora, source=folder, name=lora.base or name, seed=seed)


def save(model: Any, tokenizer: Any, folder: Path, lora: Lora, state: Mapping[str, Any] | None = None) -> None:
    """Write a trained student, completely or not at all.

    With ``lora.merge``, an adapter is merged into the weights of ``model``, which cannot be used any more; without it,
    the adapter is written alone. ``state`` are the weights, if ``model`` does not hold them itself.
    """
    if lora.r and lora.merge:
        save_model(model.merged() if state is None else model.merged_from(state), tokenizer, folder)
    else:
        save_model(model, tokenizer, folder, state)


def require_extra() -> None:
    """Raise MissingExtraError unless the packages of the extra ``train`` are installed."""
    from importlib.util import find_spec

    for package in ("torch", "transformers", "trl", "datasets", "accelerate"):
        if find_spec(package) is None:
            raise MissingExtraError(f"training ({package})", "train")


def quiet() -> None:
    """Turn off transformers' progress bars, and TRL's warning about vLLM 0.32, which the tests of `policies/` run."""
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM")


def engine_on(model: Any, tokenizer: Any, name: str) -> TransformersEngine:
    """An engine on live weights, which generates with the current weights of ``model``; errors show ``name``."""
    from relay_core.engines.transformers import TransformersEngine

    return TransformersEngine(model, tokenizer=tokenizer, spec=name)


def engine_for_actors(spec: str, lora: Lora) -> TransformersEngine:
    """An engine with the weights of :func:`trainable`, which each process that unpickles it loads for itself."""
    from relay_core.engines.transformers import TransformersEngine

    student = _student(spec)
    base = base_of(spec)
    return TransformersEngine(
        student.source,
        spec=str(student),
        base=None if base == student.source else base,
        dtype=lora.dtype if lora.r else "float32",
    )


def sampling_engine(spec: str | EngineSpec, base: str | None = None) -> Engine:
    """An engine that answers many problems at once, under the role of the teacher.

    If it runs in this process on transformers, its cache has room for a rollout's requests.
    """
    parsed = spec if isinstance(spec, EngineSpec) else EngineSpec.parse(spec)
    room = ROOM if parsed.scheme in (Scheme.BUNDLED, Scheme.TRANSFORMERS) else {}
    engine = engine_from_spec(parsed, role="teacher", **room, **({} if base is None else {"base": base}))
    engine.warns_without_commands = False  # the hint to train the student would be circular here
    return engine


@contextmanager
def closing(engine: E) -> Iterator[E]:
    """The engine, which is closed at the end; ``None`` is taken as it is."""
    try:
        yield engine
    finally:
        if engine is not None:
            portal.run(engine.aclose)


def is_saved(folder: Path) -> bool:
    """Whether the folder holds a student that :func:`save` wrote."""
    return any((folder / name).is_file() for name in ("model.safetensors", INDEX, adapter_folder.WEIGHTS))
