"""One call's arguments, checked: which relay is asked what. The names of other chat models are translated here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_relay.replies import Reply
from relay_core.adapters.settings_fields import is_given
from relay_core.adapters.structured import Side
from relay_core.errors import ConfigurationError
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.tools import Offer

# What other chat models call these.
_SYNONYMS = {
    "model": "student",
    "model_name": "student",
    "api_key": "teacher_api_key",
    "timeout": "teacher_timeout_s",
    "request_timeout": "teacher_timeout_s",
    "stop_sequences": "stop",
    "max_completion_tokens": "max_tokens",
}

# What they have and this one has not.
_INSTEAD = {
    "base_url": "write student='openai:MODEL@URL', teacher= likewise",
    "stream_usage": "leave it out, usage comes with every stream",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of which relay.

    ``opening``: text with which the answer begins and which belongs to it; ``schema``: what its JSON, written by
    ``structured_by``, follows; ``names``: the student's and the teacher's spec.
    """

    relay: Relay
    prompt: list[dict[str, Any]]
    settings: RelaySettings
    offered: Offer
    opening: str
    schema: Mapping[str, Any] | None
    structured_by: Side
    names: Mapping[str, str]

    def reply(self, *, blocks: bool) -> Reply:
        """An empty reply to it."""
        return Reply(self.prompt, self.offered, opening=self.opening, blocks=blocks)

    def options(self) -> dict[str, Any]:
        """For :meth:`Relay.astream`: tools, the beginning, and settings that are not the relay's own."""
        prefix = self.offered.prefix or self.opening
        return {"tools": self.offered.tools or None, "prefix": prefix, **self.settings.changes(self.relay.settings)}


def translated(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` under our names; settings given as ``None`` that cannot be ``None`` count as not given.

    Raises:
        ConfigurationError: one thing under two names.
    """
    given: dict[str, Any] = {}
    for name, value in values.items():
        ours = _SYNONYMS.get(name, name)
        if ours in given:
            other = name if name != ours else next(n for n in values if n != ours and _SYNONYMS.get(n) == ours)
            raise ConfigurationError(f"{other} is another name for {ours}: write one of them")
        if is_given(ours, value):
            given[ours] = value
    return given


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigurationError for the first unknown name, with the nearest known one."""
    known = sorted({*known, *_SYNONYMS})
    for name in names:
        if name in _INSTEAD:
            raise ConfigurationError(f"ChatRelay has no {name}: {_INSTEAD[name]}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ConfigurationError(f"ChatRelay has no argument {name!r}; {hint}")


def check_key(values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for an ``api_key`` meant for the student: it is the teacher's."""
    student = next((values[name] for name in ("student", "model", "model_name") if name in values), None)
    remote = [isinstance(engine, str) and engine.startswith("openai:") for engine in (student, values.get("teacher"))]
    if values.get("api_key") is not None and "student_api_key" not in values and remote == [True, False]:
        raise ConfigurationError(
            "api_key is the teacher's, and only the student is an openai: endpoint: write student_api_key="
        )


def output_format(response_format: Any, offered: Offer) -> tuple[str, Mapping[str, Any] | None]:
    """How the answer begins, and the schema of its JSON, for OpenAI's ``response_format``.

    Raises:
        ConfigurationError: it is none of ``text``, ``json_object`` and ``json_schema``.
    """
    kind = response_format.get("type") if isinstance(response_format, Mapping) else response_format
    if kind in (None, "text"):
        return "", None
    if kind == "json_object":
        return ("" if offered.tools else "{"), None  # with tools on offer, the answer may begin with a call
    if kind == "json_schema" and isinstance(response_format, Mapping):
        schema = response_format.get("json_schema")
        schema = schema.get("schema", schema) if isinstance(schema, Mapping) else None
        if isinstance(schema, Mapping):
            return "", schema
    raise ConfigurationError(
        f'response_format is {response_format!r}: write {{"type": "json_object"}} or {{"type": "json_schema", '
        '"json_schema": {"name": ..., "schema": {...}}}'
    )
