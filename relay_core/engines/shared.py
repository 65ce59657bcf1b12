"""Engines by spec, one of each in a process: two models built from the same spec and options share what they load.

For the plugins and the server, whose objects come and go (copied, bound, configured per call) while a model loads
once. Building loads nothing; an engine loads when its first answer is asked for, and stays until :func:`release`.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

from relay_core.engines.base import Engine
from relay_core.engines.spec import EngineSpec, engine_from_spec
from relay_core.keys import Role, key_from_environment

_engines: dict[Hashable, Engine] = {}
_lock = threading.Lock()


def shared_engine(spec: str, *, role: Role, api_key: str | None = None, retries: int | None = None) -> Engine:
    """The process's engine for ``spec``; built at the first asking.

    Args:
        spec: as :func:`~relay_core.engines.spec.engine_from_spec` takes it.
        role: which of the bundled pair a bare ``bundled`` means, and whose key is looked up.
        api_key: for ``openai:`` specs; ``None`` takes the role's from the environment (``keys.py``).
        retries: for ``openai:`` specs: attempts after the first one; ``None`` leaves it to the engine.

    Raises:
        ConfigurationError: what was found, and what is accepted.
    """
    parsed = EngineSpec.parse(spec).for_role(role)
    options: dict[str, Any] = {}
    if parsed.is_remote:
        options = {"api_key": api_key or key_from_environment(role), "retries": retries}
        options = {name: value for name, value in options.items() if value is not None}
    cache_key = (parsed, role if parsed.is_remote else None, tuple(sorted(options.items())))
    with _lock:
        if cache_key not in _engines:
            _engines[cache_key] = engine_from_spec(parsed, role=role, **options)
        return _engines[cache_key]


async def release() -> None:
    """Close every shared engine; whoever still holds one starts it anew with the next answer."""
    with _lock:
        engines = list(_engines.values())
        _engines.clear()
    for engine in engines:
        await engine.aclose()
