"""One engine per spec and set of options in a process.

The plugins and the server copy, bind and reconfigure their objects freely. They get their engines from this module, so
that each model is loaded only once. An engine loads its model for the first answer and keeps it until :func:`release`.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

from relay_core.engines.base import Engine
from relay_core.engines.forked import in_child, keep_unused
from relay_core.engines.spec import EngineSpec, engine_from_spec
from relay_core.keys import Role, key_from_environment

_engines: dict[Hashable, Engine] = {}
_lock = threading.Lock()


def _forget_parent() -> None:
    """In a forked child: do not share engines whose models were loaded in the parent."""
    global _lock, _engines
    _lock = threading.Lock()
    keep_unused(_engines)
    _engines = {key: engine for key, engine in _engines.items() if not engine.is_lost_in_fork}


in_child(_forget_parent)


def shared_engine(spec: str, *, role: Role, api_key: str | None = None, retries: int | None = None) -> Engine:
    """The engine for ``spec`` in this process; it is built when it is first requested.

    Args:
        spec: an engine spec (see ``spec.py``).
        role: the role of the engine, which selects the model of a bare ``bundled`` and the API key of an endpoint.
        api_key: the API key for ``openai:`` specs; with ``None``, the role's key is read from the environment
            (``keys.py``).
        retries: for ``openai:`` specs, the most attempts after the first one; ``None`` means the engine's default.

    Raises:
        ConfigurationError: the spec or an option is invalid.
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
    """Close all shared engines. An engine that is still in use starts again for its next answer."""
    with _lock:
        engines = list(_engines.values())
        _engines.clear()
    for engine in engines:
        await engine.aclose()
