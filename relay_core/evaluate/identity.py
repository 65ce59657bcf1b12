"""What an engine's spec does not tell: which weights lie in its folder now. A student may be trained anew there."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from relay_core.engines.base import Engine
from relay_core.engines.spec import EngineSpec
from relay_core.errors import ConfigurationError

_PIECES = 64
_PIECE_BYTES = 1 << 16


def identity(engine: Engine) -> str:
    """The engine's spec; for a model in a folder, also a digest of its weights."""
    try:
        folder = Path(EngineSpec.parse(engine.spec).source).expanduser()
    except ConfigurationError:  # not made from a spec
        return engine.spec
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return f"{engine.spec}#{_digest(_stamps(files))}" if files else engine.spec


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
