"""Model folders: what is wrong with one, said before anything heavy is loaded; and the loading itself.

Only safetensors are read, and no code from a model's folder is ever run. Engines are in their own modules.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.engines.gc_freeze import freeze_imports
from relay_core.errors import ConfigurationError, EngineError, MissingExtraError
from relay_core.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ACCEPTED = (
    "a folder with config.json, *.safetensors and tokenizer.json (as save_pretrained writes them), a hub id such as "
    "Qwen/Qwen3-0.6B, or a loaded model with its tokenizer; a model behind a URL is openai:MODEL@URL"
)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx")


def check_source(source: str, *, tokenizer: bool = True) -> Path | None:
    """Check what can be checked without loading; the folder, or ``None`` for a hub id.

    Args:
        source: a folder or a hub id.
        tokenizer: whether the folder must hold a tokenizer too.

    Raises:
        ConfigurationError: what was found there, and what is accepted.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        check_folder(folder, tokenizer=tokenizer)
        return folder
    if folder.exists():
        raise ConfigurationError(f"{source} is a file, not a model folder: write {ACCEPTED}")
    if not _HUB_ID.fullmatch(source) or source.startswith("."):
        raise ConfigurationError(f"there is no folder {source}: write {ACCEPTED}")
    return None


def check_folder(folder: Path, *, tokenizer: bool = True) -> None:
    """Raise ConfigurationError unless ``folder`` holds a config, safetensors and (if asked for) a tokenizer."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ConfigurationError(
                f"{folder} is an adapter without its model: merge it first (merge_and_unload, then save_pretrained)"
            )
        raise ConfigurationError(f"{folder} has no config.json ({_listing(folder)}): write {ACCEPTED}")
    read_config(folder)
    _check_weights(folder)
    if tokenizer and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ConfigurationError(
            f"{folder} has no tokenizer ({_listing(folder)}): put tokenizer.json and tokenizer_config.json there, or "
            "pass tokenizer=..."
        )


def _check_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, KeyError, AttributeError) as error:
            raise ConfigurationError(f"{index} cannot be read: {error}") from error
        missing = sorted(name for name in shards if not (folder / name).is_file())
        if missing:
            raise ConfigurationError(f"{folder} lacks {', '.join(missing)}, which {index.name} names")
        return
    if any(folder.glob("*.safetensors")):
        return
    others = sorted(path.name for pattern in _OTHER_WEIGHTS for path in folder.glob(pattern))
    if others:
        raise ConfigurationError(
            f"{folder} has weights as {', '.join(others)}; only safetensors are read (they run no code): convert them "
            "with model.save_pretrained(folder)"
        )
    raise ConfigurationError(f"{folder} has no weights ({_listing(folder)}): write {ACCEPTED}")


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "it is empty"
    return "it holds " + ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's ``config.json``.

    Raises:
        ConfigurationError: it is not a JSON object.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder / 'config.json'} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ConfigurationError(f"{folder / 'config.json'} holds no JSON object")
    return config


def context_in(config: dict[str, Any]) -> int | None:
    """Positions of the text model that a ``config.json`` describes, if it says."""
    text = config.get("text_config")
    length = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    return length if isinstance(length, int) else None


def load_model(source: str, *, dtype: str = "auto", device: str | None = None) -> PreTrainedModel:
    """Load a causal language model for generation; takes seconds and memory.

    Raises:
        ConfigurationError: it cannot be loaded, or its weights are incomplete.
        EngineError: there is not enough memory.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError("TransformersEngine (torch and transformers)", "train") from error
    folder = check_source(source, tokenizer=False)
    freeze_imports()
    bars = logging.is_progress_bar_enabled()
    try:
        logging.disable_progress_bar()
        model, report = AutoModelForCausalLM.from_pretrained(
            str(folder or source),
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model = model.to(device)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise EngineError(f"not enough memory to load {source}: {error}") from error
    except Exception as error:
        raise ConfigurationError(f"{source} cannot be loaded: {_first_line(error)}; write {ACCEPTED}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if missing := sorted(report["missing_keys"]):
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ConfigurationError(f"the weights of {source} lack {len(missing)} tensors: {shown}")
    return model.eval().requires_grad_(False)


def load_tokenizer(source: str) -> Tokenizer:
    """The tokenizer of a folder or hub id; errors as :meth:`Tokenizer.load`."""
    folder = Path(source).expanduser()
    return Tokenizer.load(folder if folder.is_dir() else source)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
