"""Engine specs: one string names a model everywhere (Python, CLI, plugins, recipes).

bundled                    the pair that ships: the relay student or the teacher, by role
bundled:NAME               one of its models: teacher, student-base, student-warm, student-relay, ...
transformers:PATH_OR_ID    in this process, on transformers' continuous batching
vllm:PATH_OR_ID            in this process, on vLLM
openai:MODEL@BASE_URL      any OpenAI-compatible endpoint
PATH_OR_ID                 the same as transformers:PATH_OR_ID
"""

from __future__ import annotations

from typing import Any, Literal

from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError

ACCEPTED = (
    "bundled, bundled:NAME, transformers:PATH_OR_ID, vllm:PATH_OR_ID, openai:MODEL@BASE_URL, or a bare path or hub id"
)


def engine_from_spec(spec: str, *, role: Literal["student", "teacher"] = "student", **options: Any) -> Engine:
    """Build the engine that ``spec`` names; checks what can be checked cheaply, loads nothing heavy.

    Args:
        spec: see this module's head.
        role: which of the bundled pair a bare ``bundled`` means, and whose key an endpoint is given.
        options: passed to the engine's class (``api_key`` for openai, ``device`` for transformers, ...).

    Raises:
        ConfigurationError: what was found, and what is accepted.
    """
    if not isinstance(spec, str) or not spec.strip():
        raise ConfigurationError(f"engine spec {spec!r}: write {ACCEPTED}")
    scheme, colon, rest = spec.strip().partition(":")
    if scheme == "bundled":
        from relay_core import bundled
        from relay_core.engines.transformers import TransformersEngine

        name = rest if colon else ("teacher" if role == "teacher" else "student-relay")
        return TransformersEngine(bundled.path(name), spec=f"bundled:{name}", **options)
    if colon and not rest.strip():
        raise ConfigurationError(f"engine spec {spec!r} names no model after {scheme!r}: write {ACCEPTED}")
    if scheme == "openai" and colon:
        from relay_core.engines.openai import OpenAIEngine

        model, at, base_url = rest.partition("@")
        if not at or not model or "://" not in base_url:
            raise ConfigurationError(
                f"engine spec {spec!r}: write openai:MODEL@BASE_URL, such as openai:Qwen3-8B@http://localhost:8000/v1"
            )
        return OpenAIEngine(model, base_url=base_url, role=role, **options)
    if scheme == "vllm" and colon:
        from relay_core.engines.vllm import VLLMEngine

        return VLLMEngine(rest, **options)
    if scheme == "transformers" and colon:
        from relay_core.engines.transformers import TransformersEngine

        return TransformersEngine(rest, **options)
    if colon and not _looks_like_path(spec):
        raise ConfigurationError(f"engine spec {spec!r} has an unknown scheme {scheme!r}: write {ACCEPTED}")
    from relay_core.engines.transformers import TransformersEngine

    return TransformersEngine(spec.strip(), **options)


def _looks_like_path(spec: str) -> bool:
    return spec.startswith(("/", ".", "~")) or spec[1:3] in (":\\", ":/")
