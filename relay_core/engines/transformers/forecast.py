"""What a pair of models takes, told before either is loaded; for ``relay doctor`` and training's ``check``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from relay_core.engines.spec import EngineSpec, engine_from_spec
from relay_core.engines.transformers import cache_size, memory
from relay_core.engines.transformers.engine import TransformersEngine
from relay_core.engines.transformers.footprint import GIB
from relay_core.errors import EngineError
from relay_core.keys import Role


def forecast_specs(specs: Mapping[Role, EngineSpec], **options: Any) -> dict[str, Any]:
    """:func:`forecast` of the engines that specs name, and that run on transformers in this process.

    Args:
        specs: by role.
        options: arguments of the engines.

    Raises:
        ConfigurationError: a spec or an option cannot be used.
    """
    engines = {role: engine_from_spec(spec, role=role, **options) for role, spec in specs.items()}
    known: dict[str, TransformersEngine] = {
        role: engine for role, engine in engines.items() if isinstance(engine, TransformersEngine)
    }
    try:
        return forecast(known)
    finally:
        for engine in known.values():
            asyncio.run(engine.aclose())


def forecast(engines: Mapping[str, TransformersEngine]) -> dict[str, Any]:
    """The memory that engines will take when they start in this order, none of them having started.

    Args:
        engines: by role.

    Returns:
        ``models``: by role, ``device``, ``weights_gib``, ``cache_gib`` and ``cache_tokens``, or an ``error`` with what
        to write instead; ``total_gib``; ``free_gib`` by device; ``fits``. A model whose weights are not on this machine
        has neither sizes nor an error.
    """
    free: dict[str, int] = {}
    models: dict[str, dict[str, Any]] = {}
    total = 0
    needs = {role: engine.memory_needs for role, engine in engines.items()}
    waiting = [(str(needed.device), needed.footprint) for needed, _ in needs.values() if needed.footprint is not None]
    for role, (needed, options) in needs.items():
        device, sizes = str(needed.device), needed.footprint
        free.setdefault(device, memory.free_bytes(needed.device))
        left = free[device] - sum(taken["bytes"] for taken in models.values() if taken["device"] == device)
        models[role] = {"device": device, "bytes": 0}
        if sizes is None:
            continue
        waiting.remove((device, sizes))
        expected = sum(other.weights for where, other in waiting if where == device)
        models[role] |= {"weights_gib": _gib(sizes.weights), "bytes": sizes.weights}
        try:
            cache_size.check_weights(sizes, left, device)
            tokens = cache_size.cache_tokens(
                sizes, options, needed.device.type, free=left - sizes.weights, expected=expected
            )
        except EngineError as error:
            models[role]["error"] = str(error)
        else:
            models[role] |= {"cache_gib": _gib(tokens * sizes.token), "cache_tokens": tokens}
            models[role]["bytes"] += tokens * sizes.token
        total += models[role]["bytes"]
    return {
        "models": {role: {k: v for k, v in model.items() if k != "bytes"} for role, model in models.items()},
        "total_gib": _gib(total),
        "free_gib": {device: _gib(size) for device, size in free.items()},
        "fits": not any("error" in model for model in models.values()),
    }


def _gib(size: float) -> float:
    return round(size / GIB, 3)
