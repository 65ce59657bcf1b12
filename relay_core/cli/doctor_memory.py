"""``relay doctor``: what the models that it is to start will take, before they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay_core.engines import spec as engine_specs
from relay_core.errors import RelayError
from relay_core.keys import Role

IN_PROCESS = (engine_specs.Scheme.BUNDLED, engine_specs.Scheme.TRANSFORMERS)


def memory_of(specs: Mapping[Role, str | None]) -> dict[str, Any] | None:
    """What the models of ``specs`` that transformers runs in this process take, as
    :func:`relay_core.engines.transformers.forecast.forecast` returns it; ``None`` if there is none, or if a spec or an
    installation is at fault, which starting the model reports.
    """
    try:
        from relay_core.engines.transformers.forecast import forecast_specs

        parsed = {role: engine_specs.EngineSpec.parse(spec) for role, spec in specs.items() if spec is not None}
        in_process = {role: spec for role, spec in parsed.items() if spec.scheme in IN_PROCESS}
        return forecast_specs(in_process) if in_process else None
    except (RelayError, ImportError):
        return None


def memory_line(report: dict[str, Any]) -> str:
    """The report in one line a model, and one for both."""
    lines = [f"{role}: {_model_text(model)}" for role, model in report["models"].items()]
    free = ", ".join(f"{size:.2f} GiB free on {device}" for device, size in report["free_gib"].items())
    return "\n".join([*lines, f"together {report['total_gib']:.2f} GiB beside torch itself; {free}"])


def _model_text(model: dict[str, Any]) -> str:
    if "weights_gib" not in model:
        return "unknown until it is downloaded"
    weights = f"weights {model['weights_gib']:.2f} GiB"
    if "error" in model:
        return f"{weights}; DOES NOT FIT: {model['error']}"
    return f"{weights}, cache {model['cache_gib']:.2f} GiB for {model['cache_tokens']:,} tokens"
