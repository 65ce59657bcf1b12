"""Engine specs: strings that name a model everywhere (in Python, the CLI, plugins and recipes).

    bundled                    the bundled relay student or the bundled teacher, depending on the role
    bundled:NAME               a bundled model: teacher, student-base, student-warm, student-relay, ...
    transformers:PATH_OR_ID    in this process, on transformers' continuous batching
    vllm:PATH_OR_ID            in this process, on vLLM
    openai:MODEL@BASE_URL      any OpenAI-compatible endpoint
    PATH_OR_ID                 means transformers:PATH_OR_ID; an id has the form OWNER/NAME

PATH_OR_ID may be that of a LoRA adapter, whose base is an option: ``transformers:ADAPTER?base=PATH_OR_ID``. Options of
the engine follow a question mark, as in ``vllm:PATH?max_model_len=4096`` (``spec_options.py``). A
``pathlib.Path`` is a spec too: that of the folder. No other module parses engine specs.
"""

from __future__ import annotations

import os
import re
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
_MARKS = re.compile("//|[@:?#]")  # characters that may precede a password or a key


class Scheme(StrEnum):
    """The part of a spec before the colon, which says what runs the model."""

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
    def parse(cls, spec: str | os.PathLike[str]) -> EngineSpec:
        """Parse a spec, or make one from the path of a model's folder.

        Raises:
            ConfigurationError: ``spec`` is not a spec, or there is no such folder; the message lists what is accepted,
                and shows nothing of a spec that may be a password or a key.
        """
        if isinstance(spec, os.PathLike):
            return cls._of_folder(os.fsdecode(spec))
        if not isinstance(spec, str):
            raise ConfigurationError(f"an engine spec is a {type(spec).__name__}: write {ACCEPTED_SPECS}")
        if not spec.strip():
            raise ConfigurationError(f"engine spec {spec!r}: write {ACCEPTED_SPECS}")
        text, has_options, query = spec.strip().partition("?")
        parsed = cls._without_options(text)
        return replace(parsed, options=parse_options(parsed.scheme, query)) if has_options else parsed

    @classmethod
    def _of_folder(cls, folder: str) -> EngineSpec:
        if "?" in folder:
            raise ConfigurationError(f"{folder} cannot stand in a spec, in which ? begins options: rename the folder")
        if not os.path.isdir(os.path.expanduser(folder)):
            raise ConfigurationError(
                f"there is no folder {folder}: a Path is that of a model's folder; as text, write {ACCEPTED_SPECS}"
            )
        return cls(Scheme.TRANSFORMERS, folder)

    @classmethod
    def _without_options(cls, text: str) -> EngineSpec:
        name, colon, rest = text.partition(":")
        shown = without_secrets(text)
        if colon and not rest.strip():
            raise ConfigurationError(f"engine spec {shown!r} names no model after its colon: write {ACCEPTED_SPECS}")
        if colon and name == Scheme.OPENAI:
            head, separator, tail = rest.partition("://")
            model, _, url_scheme = head.rpartition("@")  # the name of a model may contain an @, too
            if not separator or not model.strip():
                raise ConfigurationError(
                    f"engine spec {shown!r}: write {ENDPOINT}, such as openai:Qwen3-8B@http://localhost:8000/v1"
                )
            return cls(Scheme.OPENAI, model, f"{url_scheme}://{tail}")
        if name == Scheme.BUNDLED or (colon and name in set(Scheme)):
            if _holds_credentials(rest):
                raise ConfigurationError(
                    f"engine spec {shown!r} names no model of this scheme: for a model behind a URL write {ENDPOINT}; "
                    f"accepted are {ACCEPTED_SPECS}"
                )
            return cls(Scheme(name), rest)
        if colon and not _looks_like_path(text):
            raise ConfigurationError(f"engine spec {shown!r} has an unknown scheme: write {ACCEPTED_SPECS}")
        if not colon and "/" not in text and not _looks_like_path(text) and not os.path.exists(text):
            raise ConfigurationError(
                f"engine spec {shown!r} is neither a folder nor OWNER/NAME: for a model behind a URL write "
                f"openai:{shown}@BASE_URL, for a hub id of one word transformers:{shown}; accepted are {ACCEPTED_SPECS}"
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


def engine_from_spec(spec: str | os.PathLike[str] | EngineSpec, *, role: Role = "student", **options: Any) -> Engine:
    """Build the engine that ``spec`` names, without loading its model.

    Args:
        spec: an engine spec, such as ``"bundled"``, ``"transformers:Qwen/Qwen3-0.6B"`` or
            ``"openai:Qwen3-8B@http://localhost:8000/v1"``, or the path of a model's folder.
        role: the role of the engine, which selects the model of a bare ``bundled`` and the API key of an endpoint.
        options: arguments for the engine's class (``api_key`` for openai, ``device`` for transformers, ...); they take
            precedence over the options in the spec.

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
    """An invalid spec in the form for an error: cut before the first character that may precede a password or a key.

    After a known scheme, the name of the model is shown. After any other word, nothing is shown, because a secret may
    follow.
    """
    scheme, colon, rest = spec.partition(":")
    shown = _MARKS.split(scheme)[0]
    if colon and shown == scheme and shown in set(Scheme):
        shown = f"{scheme}:{_MARKS.split(rest)[0]}"
    return shown if shown == spec else f"{shown}***"


def _holds_credentials(source: str) -> bool:
    """Whether a source that is not an existing folder is a URL or contains USER:PASSWORD@."""
    return ("://" in source or ":" in source.rpartition("@")[0]) and not os.path.exists(os.path.expanduser(source))


def _looks_like_path(spec: str) -> bool:
    return spec.startswith(("/", ".", "~", "\\")) or spec[1:3] in (":\\", ":/")
