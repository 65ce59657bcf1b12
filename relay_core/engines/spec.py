"""Engine specs: one string names a model everywhere (Python, CLI, plugins, recipes).

    bundled                    of the pair that ships, the relay student or the teacher, by role
    bundled:NAME               a bundled model: teacher, student-base, student-warm, student-relay, ...
    transformers:PATH_OR_ID    in this process, on transformers' continuous batching
    vllm:PATH_OR_ID            in this process, on vLLM
    openai:MODEL@BASE_URL      any OpenAI-compatible endpoint
    PATH_OR_ID                 the same as transformers:PATH_OR_ID; an id is OWNER/NAME

Options of the engine follow a question mark, as in ``vllm:PATH?max_model_len=4096`` (``spec_options.py``). No other
module parses engine specs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from relay_core.engines.base import Engine
from relay_core.engines.spec_options import Options, options_text, parse_options
from relay_core.errors import ConfigurationError
from relay_core.keys import Role

ENDPOINT = "openai:MODEL@BASE_URL"
ACCEPTED_SPECS = (
    f"bundled, bundled:NAME, transformers:PATH_OR_ID, vllm:PATH_OR_ID, {ENDPOINT}, or a bare path or hub id"
)


class Scheme(StrEnum):
    """The part of a spec before the colon: what runs the model."""

    BUNDLED = "bundled"
    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """A parsed spec.

    ``model``: a bundled model's name (empty for a bare ``bundled``), a path or hub id, or the name under which an
    endpoint serves the model. ``base_url``: the endpoint's URL; empty for other schemes. ``options``: arguments of the
    engine, sorted by name.
    """

    scheme: Scheme
    model: str
    base_url: str = ""
    options: Options = ()

    @classmethod
    def parse(cls, spec: str) -> EngineSpec:
        """Parse a spec.

        Raises:
            ConfigurationError: ``spec`` is not a spec; the message lists what is accepted.
        """
        if not isinstance(spec, str) or not spec.strip():
            raise ConfigurationError(f"engine spec {spec!r}: write {ACCEPTED_SPECS}")
        text, has_options, query = spec.strip().partition("?")
        parsed = cls._without_options(text)
        return replace(parsed, options=parse_options(parsed.scheme, query)) if has_options else parsed

    @classmethod
    def _without_options(cls, text: str) -> EngineSpec:
        name, colon, rest = text.partition(":")
        if colon and not rest.strip():
            raise ConfigurationError(f"engine spec {text!r} names no model after {name!r}: write {ACCEPTED_SPECS}")
        if name == Scheme.BUNDLED:
            return cls(Scheme.BUNDLED, rest)
        if colon and name == Scheme.OPENAI:
            head, separator, tail = rest.partition("://")
            model, _, url_scheme = head.rpartition("@")  # a model's name may have an @ of its own
            if not separator or not model.strip():
                raise ConfigurationError(
                    f"engine spec {without_secrets(text)!r}: write {ENDPOINT}, such as "
                    "openai:Qwen3-8B@http://localhost:8000/v1"
                )
            return cls(Scheme.OPENAI, model, f"{url_scheme}://{tail}")
        if colon and name in (Scheme.TRANSFORMERS, Scheme.VLLM):
            return cls(Scheme(name), rest)
        if colon and not _looks_like_path(text):
            shown = without_secrets(text)
            raise ConfigurationError(f"engine spec {shown!r} has an unknown scheme {name!r}: write {ACCEPTED_SPECS}")
        if not colon and "/" not in text and not _looks_like_path(text) and not os.path.exists(text):
            raise ConfigurationError(
                f"engine spec {text!r} is neither a folder nor OWNER/NAME: for a model behind a URL write "
                f"openai:{text}@BASE_URL, for a hub id of one word transformers:{text}; accepted are {ACCEPTED_SPECS}"
            )
        return cls(Scheme.TRANSFORMERS, text)

    @property
    def is_remote(self) -> bool:
        """Whether the model runs behind a URL."""
        return self.scheme is Scheme.OPENAI

    @property
    def source(self) -> str:
        """The folder or hub id that the model is loaded from; for an endpoint, the name of its model.

        Raises:
            ConfigurationError: there is no such bundled model, or it has no weights.
        """
        if self.scheme is Scheme.BUNDLED:
            from relay_core import bundled

            return str(bundled.path(self.model))
        return self.model

    def for_role(self, role: Role) -> EngineSpec:
        """The same spec, with a bare ``bundled`` replaced by the bundled model of that role."""
        if self.scheme is not Scheme.BUNDLED or self.model:
            return self
        return replace(self, model="teacher" if role == "teacher" else "student-relay")

    def __str__(self) -> str:
        endpoint = f"@{self.base_url}" if self.base_url else ""
        options = f"?{options_text(self.options)}" if self.options else ""
        return (f"{self.scheme}:{self.model}{endpoint}" if self.model else str(self.scheme)) + options


def engine_from_spec(spec: str | EngineSpec, *, role: Role = "student", **options: Any) -> Engine:
    """Build the engine that ``spec`` names, without loading its model.

    Args:
        spec: an engine spec, such as ``"bundled"``, ``"transformers:Qwen/Qwen3-0.6B"`` or
            ``"openai:Qwen3-8B@http://localhost:8000/v1"``.
        role: which model of the bundled pair a bare ``bundled`` means, and whose key an endpoint gets.
        options: passed to the engine's class (``api_key`` for openai, ``device`` for transformers, ...); they take
            precedence over the spec's own.

    Raises:
        ConfigurationError: the spec or an option is invalid; the message lists what is accepted.
    """
    parsed = (spec if isinstance(spec, EngineSpec) else EngineSpec.parse(spec)).for_role(role)
    options = {**dict(parsed.options), **options}
    if parsed.scheme is Scheme.OPENAI:
        from relay_core.engines.openai import OpenAIEngine

        return OpenAIEngine(parsed.model, base_url=parsed.base_url, role=role, **options)
    if parsed.scheme is Scheme.VLLM:
        from relay_core.engines.vllm import VLLMEngine

        return VLLMEngine(parsed.model, **options)
    from relay_core.engines.transformers import TransformersEngine

    if parsed.scheme is Scheme.BUNDLED:
        return TransformersEngine(parsed.source, spec=str(parsed), **options)
    return TransformersEngine(parsed.source, **options)


def bundled_names() -> tuple[str, ...]:
    """The models that ``bundled:NAME`` can name."""
    from relay_core import bundled

    return bundled.NAMES


def without_secrets(spec: str) -> str:
    """A spec that cannot be used, as an error shows it: without what may hold a password or a key."""
    text, is_url, _ = spec.partition("://")
    scheme, colon, rest = text.partition("?")[0].partition("#")[0].partition(":")
    before, _, after = rest.rpartition("@")
    return (f"{scheme}:***@{after}" if ":" in before else f"{scheme}{colon}{rest}") + (is_url and "://***")


def _looks_like_path(spec: str) -> bool:
    return spec.startswith(("/", ".", "~", "\\")) or spec[1:3] in (":\\", ":/")
