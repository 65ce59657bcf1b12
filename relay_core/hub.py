"""Access to the Hugging Face hub, with a short deadline.

Without a network, the hub's own client retries for half a minute before it reports that a model cannot be found. We
therefore check whether the hub answers before we load anything from it. If it does not answer, models come from the
local cache.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError

DEADLINE_S = 5.0
_REMEMBERED_S = 30.0
_CACHED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
_answers: dict[str, tuple[bool, float]] = {}  # for each endpoint: whether it answered, and when


def download_options(source: str) -> dict[str, Any]:
    """The options of ``from_pretrained`` for a folder or a hub id; blocks for at most ``DEADLINE_S`` seconds.

    Raises:
        ConfigurationError: ``source`` is not a folder, the hub does not answer, and the cache does not hold the model.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if Path(source).expanduser().is_dir() or constants.HF_HUB_OFFLINE or _is_reachable(constants.ENDPOINT):
        return {}
    if not any(isinstance(try_to_load_from_cache(source, name), str) for name in _CACHED_FILES):
        raise ConfigurationError(
            f"{source} is no folder, it is not in the hub's cache, and the hub ({constants.ENDPOINT}) did not answer "
            f"within {DEADLINE_S:g} s: write the path of a folder, or connect to the network"
        )
    return {"local_files_only": True}


def check_dataset(path: str) -> None:
    """Refuse a dataset that cannot be had, before the hub's client retries for half a minute.

    Args:
        path: a hub id, or a folder.

    Raises:
        ConfigurationError: the hub does not answer, and the cache of ``datasets`` does not hold the dataset.
    """
    from datasets import config
    from huggingface_hub import constants

    is_cached = any((Path(config.HF_DATASETS_CACHE) / path.replace("/", "___")).glob("*"))
    if Path(path).expanduser().exists() or is_cached:
        return
    if constants.HF_HUB_OFFLINE or not _is_reachable(constants.ENDPOINT):
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"it did not answer within {DEADLINE_S:g} s"
        raise ConfigurationError(
            f"{path} is not in the cache of datasets, and the hub ({constants.ENDPOINT}) cannot be asked ({why}): "
            "write a file with its rows (for a benchmark --data-dir DIR), or connect to the network"
        )


def folder_with(source: str, name: str, patterns: Iterable[str]) -> str | None:
    """Download the files of a model on the hub that match ``patterns``, if the file ``name`` is among its files.

    Returns:
        The folder of the files; ``None`` if there is no file of that name.

    Raises:
        ConfigurationError: the hub does not answer, and the cache does not hold the model.
    """
    from huggingface_hub import snapshot_download
    from transformers.utils.hub import cached_file

    options = download_options(source)
    try:
        found = cached_file(
            source,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **options,
        )
    except OSError:  # no such model, or no access to it: loading it says so
        return None
    if found is None:
        return None
    try:
        return str(snapshot_download(source, allow_patterns=list(patterns), **options))
    except Exception as error:  # the class depends on the HTTP client of the installed huggingface_hub
        raise ConfigurationError(f"{source} could not be downloaded from the hub: {error}") from error


def _is_reachable(endpoint: str) -> bool:
    answered, asked_at = _answers.get(endpoint, (False, 0.0))
    if not asked_at or time.monotonic() - asked_at > _REMEMBERED_S:
        answers: list[object] = []
        # in a separate thread, since the look-up of a host name has no deadline
        asking = threading.Thread(target=_ask, args=(endpoint, answers), name="relay-hub", daemon=True)
        asking.start()
        asking.join(DEADLINE_S)
        answered = bool(answers)
        _answers[endpoint] = answered, time.monotonic()
    return answered


def _ask(endpoint: str, answers: list[object]) -> None:
    from huggingface_hub import get_session

    try:
        answers.append(get_session().head(endpoint, timeout=DEADLINE_S))
    except Exception:  # the class depends on the HTTP client of the installed huggingface_hub
        return
