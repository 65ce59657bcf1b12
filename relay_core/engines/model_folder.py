"""Checks model folders before anything heavy is loaded, loads them, and saves them atomically.

Weights are read from safetensors only, and code from a model's folder is never run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core import extras, hub
from relay_core.engines.forked import in_child
from relay_core.engines.gc_freeze import freeze_imports
from relay_core.engines.spec import ENDPOINT
from relay_core.errors import ConfigurationError, EngineError, MissingExtraError
from relay_core.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ACCEPTED_MODELS = (
    "a folder with config.json, *.safetensors and tokenizer.json (as save_pretrained writes them), a hub id such as "
    f"Qwen/Qwen3-0.6B, or a loaded model with its tokenizer; a model behind a URL is {ENDPOINT}"
)
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx")


def check_source(source: str, *, tokenizer: bool = True, adapters: bool = False) -> Path | None:
    """Check a model's source without loading anything.

    Args:
        source: a folder or a hub id.
        tokenizer: whether the folder must hold a tokenizer too.
        adapters: whether the source may be an adapter's folder, which ``adapter_folder.py`` checks.

    Returns:
        The folder; ``None`` for a hub id.

    Raises:
        ConfigurationError: the source is not a usable model; the message says what was found and what is accepted.
    """
    try:
        return _checked_source(source, tokenizer=tokenizer, adapters=adapters)
    except (OSError, RuntimeError) as error:  # no permission, a home directory that does not exist, ...
        raise ConfigurationError(f"{source} cannot be read: {error}") from error


def absolute(source: str) -> str:
    """A folder's absolute path, for a process whose working directory is another one; a hub id as it is."""
    folder = Path(source).expanduser()
    return str(folder.absolute()) if folder.is_dir() else source


def _checked_source(source: str, *, tokenizer: bool, adapters: bool) -> Path | None:
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (adapters and (folder / ADAPTER_CONFIG).is_file()):
            check_folder(folder, tokenizer=tokenizer)
        return folder
    if folder.exists():
        raise ConfigurationError(f"{source} is a file, not a model folder: write {ACCEPTED_MODELS}")
    if not _HUB_ID.fullmatch(source) or source.startswith("."):
        raise ConfigurationError(f"there is no folder {source}: write {ACCEPTED_MODELS}")
    return None


def check_folder(folder: Path, *, tokenizer: bool = True) -> None:
    """Raise ConfigurationError unless ``folder`` holds a config, safetensors and (if ``tokenizer``) a tokenizer."""
    if (folder / ADAPTER_CONFIG).is_file():
        raise ConfigurationError(f"{folder} is an adapter; here, a whole model is needed: write {ACCEPTED_MODELS}")
    if not (folder / "config.json").is_file():
        raise ConfigurationError(f"{folder} has no config.json ({_listing(folder)}): write {ACCEPTED_MODELS}")
    read_config(folder)
    _check_weights(folder)
    if tokenizer and not has_tokenizer(folder):
        raise ConfigurationError(
            f"{folder} has no tokenizer ({_listing(folder)}): put tokenizer.json and tokenizer_config.json there, or "
            "pass tokenizer=..."
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether ``folder`` holds a tokenizer's files."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def _check_weights(folder: Path) -> None:
    index = folder / INDEX
    if index.is_file():
        missing = [name for name in shards_in(index) if not (folder / name).is_file()]
        if missing:
            raise ConfigurationError(f"{folder} lacks {_some(missing)}, which {index.name} names")
        return
    if any(folder.glob("*.safetensors")):
        return
    others = sorted(path.name for pattern in _OTHER_WEIGHTS for path in folder.glob(pattern))
    if others:
        raise ConfigurationError(
            f"{folder} has weights as {', '.join(others)}; only safetensors are read (they run no code): convert them "
            "with model.save_pretrained(folder)"
        )
    raise ConfigurationError(f"{folder} has no weights ({_listing(folder)}): write {ACCEPTED_MODELS}")


def shards_in(index: Path) -> list[str]:
    """The weight files that an index (``model.safetensors.index.json``) names, sorted.

    Raises:
        ConfigurationError: the index cannot be read, or names a file that is not safetensors.
    """
    weight_map = read_object(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"{index} names no files of weights: it needs a weight_map from tensors to files")
    shards = sorted(set(names))
    others = [name for name in shards if not name.endswith(".safetensors")]
    if others:
        raise ConfigurationError(
            f"{index} names {_some(others)}; only safetensors are read (they run no code): convert the weights with "
            "model.save_pretrained(folder)"
        )
    return shards


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return f"it holds {_some(names)}" if names else "it is empty"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's ``config.json``.

    Raises:
        ConfigurationError: the file cannot be read, or is not a JSON object.
    """
    config = read_object(folder / "config.json")
    named = config.get("transformers_weights")
    if isinstance(named, str) and not named.endswith((".safetensors", ".safetensors.index.json")):
        raise ConfigurationError(f"{folder / 'config.json'} names the weights {named}; only safetensors are read")
    return config


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises ConfigurationError if it cannot be read, or is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} holds no JSON object")
    return value


def context_in(config: dict[str, Any]) -> int | None:
    """The context length in tokens that a ``config.json`` states for its text model; ``None`` if it states none."""
    text_config = config.get("text_config")
    length = (text_config if isinstance(text_config, dict) else config).get("max_position_embeddings")
    return length if type(length) is int and length > 0 else None


# While transformers loads a model, it changes defaults of the whole process. Where two threads loaded models at once,
# one was left without data ("Cannot copy out of meta tensor").
_loading = threading.Lock()


def _begin_anew() -> None:
    global _loading
    _loading = threading.Lock()


in_child(_begin_anew)


def load_model(source: str, *, dtype: str = "auto", device: str | None = None) -> PreTrainedModel:
    """Load a causal language model, for generation only.

    Args:
        source: a folder or a hub id.
        dtype: the dtype, such as ``"float32"``; ``"auto"`` means that of the checkpoint.
        device: the device, such as ``"cuda:1"``; ``None`` means a GPU if there is one.

    Raises:
        ConfigurationError: the model cannot be loaded, or its weights are incomplete.
        EngineError: there is not enough memory.
    """
    try:
        with extras.importing():
            import torch
            from transformers import AutoModelForCausalLM
            from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError("a model in this process (torch and transformers)", "local") from error
    folder = check_source(source, tokenizer=False)
    options = hub.download_options(source)
    freeze_imports()
    progress_bars = logging.is_progress_bar_enabled()
    try:
        logging.disable_progress_bar()
        if folder is None:
            _check_index_on_hub(source, options)
        with _loading:
            model, report = AutoModelForCausalLM.from_pretrained(
                str(folder or source),
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model = model.to(device)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise EngineError(f"not enough memory to load {source}: {error}") from error
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{source} cannot be loaded: {first_line(error)}; write {ACCEPTED_MODELS}") from error
    finally:
        if progress_bars:
            logging.enable_progress_bar()
    if missing := sorted(report["missing_keys"]):
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ConfigurationError(f"the weights of {source} lack {len(missing)} tensors: {shown}")
    return model.eval().requires_grad_(False)


def _check_index_on_hub(source: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if the index of a model on the hub names weights that are not safetensors."""
    from transformers.utils.hub import cached_file

    index = cached_file(
        source,
        INDEX,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **options,
    )
    if index is not None:
        shards_in(Path(index))


def load_tokenizer(source: str) -> Tokenizer:
    """The tokenizer of a folder or hub id; raises what :meth:`Tokenizer.load` raises."""
    folder = Path(source).expanduser()
    return Tokenizer.load(folder if folder.is_dir() else source)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Write a folder completely or not at all.

    Yields a temporary folder next to ``folder``, which replaces ``folder`` when the context ends. If the context
    raises, the temporary folder is deleted and ``folder`` is not changed.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a model folder (configs, safetensors, tokenizer, chat template), completely or not at all.

    ``state`` are the weights, if ``model`` does not hold them itself.
    """
    with replacing(folder) as temporary:
        model.save_pretrained(temporary, **({} if state is None else {"state_dict": dict(state)}))
        tokenizer.save_pretrained(temporary)
        _give_usual_mode(temporary)


def _give_usual_mode(folder: Path) -> None:
    """Give weights the mode of a new file under the present umask; safetensors writes them for their owner alone."""
    new = folder / ".new"
    new.touch()
    for file in folder.glob("*.safetensors"):
        file.chmod(new.stat().st_mode)
    new.unlink()


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its class if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
