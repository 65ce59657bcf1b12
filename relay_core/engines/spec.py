"""Engine specs: one string names a model everywhere (Python, CLI, plugins, recipes).

    bundled                    the pair that ships: the relay student or the teacher, by role
    bundled:NAME               one of its models: teacher, student-base, student-warm, student-relay, ...
    transformers:PATH_OR_ID    in this process, on transformers' continuous batching
    vllm:PATH_OR_ID            in this process, on vLLM
    openai:MODEL@BASE_URL      any OpenAI-compatible endpoint
    PATH_OR_ID                 the same as transformers:PATH_OR_ID

The grammar is read here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError
from relay_core.keys import Role

ACCEPTED = (
    "bundled, bundled:NAME, transformers:PATH_OR_ID, vllm:PATH_OR_ID, openai:MODEL@BASE_URL, or a bare path or hub id"
)


class Scheme(StrEnum):
    """What runs a model."""

    BUNDLED = "bundled"
    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """A spec, read.

    ``model``: the bundled model's name (empty for a bare ``bundled``), a path or hub id, or the endpoint's name for the
    model. ``base_url``: the endpoint's, empty for other schemes.
    """

    scheme: Scheme
    model: str
    base_url: str = ""

    @classmethod
    def parse(cls, spec: str) -> EngineSpec:
        """Read a spec.

        Raises:
            ConfigurationError: it is not one; the message says what is accepted.
        """
        if not isinstance(spec, str) or not spec.strip():
            raise ConfigurationError(f"engine spec {spec!r}: write {ACCEPTED}")
        text = spec.strip()
        name, colon, rest = text.partition(":")
        if colon and not rest.strip():
            raise ConfigurationError(f"engine spec {spec!r} names no model after {name!r}: write {ACCEPTED}")
        if name == Scheme.BUNDLED:
            return cls(Scheme.BUNDLED, rest)
        if colon and name == Scheme.OPENAI:
            model, at, base_url = rest.partition("@")
            if not at or not model or "://" not in base_url:
                raise ConfigurationError(
                    f"engine spec {spec!r}: write openai:MODEL@BASE_URL, such as "
                    "openai:Qwen3-8B@http://localhost:8000/v1"
                )
            return cls(Scheme.OPENAI, model, base_url)
        if colon and name in (Scheme.TRANSFORMERS, Scheme.VLLM):
            return cls(Scheme(name), rest)
        if colon and not _looks_like_path(spec):
            raise ConfigurationError(f"engine spec {spec!r} has an unknown scheme {name!r}: write {ACCEPTED}")
        return cls(Scheme.TRANSFORMERS, text)

    @property
    def is_remote(self) -> bool:
        """Whether the model is behind a URL."""
        return self.scheme is Scheme.OPENAI

    def for_role(self, role: Role) -> EngineSpec:
        """The same, a bare ``bundled`` as the model of that role."""
        if self.scheme is not Scheme.BUNDLED or self.model:
            return self
        return EngineSpec(Scheme.BUNDLED, "teacher" if role == "teacher" else "student-relay")

    def __str__(self) -> str:
        at = f"@{self.base_url}" if self.base_url else ""
        return f"{self.scheme}:{self.model}{at}" if self.model else str(self.scheme)


def engine_from_spec(spec: str | EngineSpec, *, role: Role = "student", **options: Any) -> Engine:
    """Build the engine that ``spec`` names; checks what can be checked cheaply, loads nothing heavy.

    Args:
        spec: see this module's head.
        role: which of the bundled pair a bare ``bundled`` means, and whose key an endpoint is given.
        options: passed to the engine's class (``api_key`` for openai, ``device`` for transformers, ...).

    Raises:
        ConfigurationError: what was found, and what is accepted.
    """
    wanted = (spec if isinstance(spec, EngineSpec) else EngineSpec.parse(spec)).for_role(role)
    if wanted.scheme is Scheme.OPENAI:
        from relay_core.engines.openai import OpenAIEngine

        return OpenAIEngine(wanted.model, base_url=wanted.base_url, role=role, **options)
    if wanted.scheme is Scheme.VLLM:
        from relay_core.engines.vllm import VLLMEngine

        return VLLMEngine(wanted.model, **options)
    from relay_core.engines.transformers import TransformersEngine

    if wanted.scheme is Scheme.BUNDLED:
        from relay_core import bundled

        return TransformersEngine(bundled.path(wanted.model), spec=str(wanted), **options)
    return TransformersEngine(wanted.model, **options)


def _looks_like_path(spec: str) -> bool:
    return spec.startswith(("/", ".", "~")) or spec[1:3] in (":\\", ":/")
