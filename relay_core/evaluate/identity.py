"""What an engine's spec does not tell: which weights lie in its folder now, and how they are loaded. A student may be
trained anew there, and one of another precision, or on another base, answers otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from relay_core.engines.base import Engine
from relay_core.engines.spec import EngineSpec
from relay_core.errors import ConfigurationError

_PIECES = 64
_PIECE_BYTES = 1 << 16


def identity(engine: Engine) -> str:
    """The engine's spec with the options that decide its answers; for a model in a folder, also a digest of its
    weights, and for an adapter of its base's.
    """
    try:
        source = EngineSpec.parse(engine.spec).source
    except ConfigurationError:  # not made from a spec
        source = ""
    return (
        engine.spec + _weights(source) + _options(engine, lambda name, value: value + _weights(value, name == "base"))
    )


def shown(engine: Engine) -> str:
    """The engine's spec with the options that decide its answers, for a reader."""
    return engine.spec + _options(engine, lambda name, value: value)


def _options(engine: Engine, text: Callable[[str, str], str]) -> str:
    named = "&".join(f"{name}={text(name, value)}" for name, value in engine.deciding)
    return f"?{named}" if named else ""


def _weights(source: str, is_model: bool = True) -> str:
    """``#`` and a digest of the weights in a folder; nothing for what is none."""
    folder = Path(source).expanduser()
    files = sorted(folder.glob("*.safetensors")) if source and is_model and folder.is_dir() else []
    return f"#{_digest(_stamps(files))}" if files else ""


def _stamps(files: list[Path]) -> tuple[tuple[Path, int, int], ...]:
    return tuple((file, stat.st_size, stat.st_mtime_ns) for file in files for stat in [file.stat()])


@lru_cache(maxsize=64)
def _digest(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    """Of the whole of small files, and of pieces from all over large ones."""
    digest = hashlib.sha256()
    for path, size, _ in stamps:
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            if size <= _PIECES * _PIECE_BYTES:
                digest.update(file.read())
                continue
            for i in range(_PIECES):
                file.seek(i * (size - _PIECE_BYTES) // (_PIECES - 1))
                digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()[:16]
