"""Constraints that a text must follow: a JSON schema, a regular expression, a choice of texts, or a tool call.

Before an engine samples under a constraint, it excludes every token that cannot lead to a text that follows the
constraint. ``Engine.constraints`` lists the kinds that an engine supports. ``engines/grammar_text.py`` writes a tool
call as a grammar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from relay_core.engines.sampling import Sampling


class Kind(StrEnum):
    """The kinds of constraints; each value is the name of a field of ``Sampling``."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    CHOICE = "choice"
    TOOL_CALL = "tool_call"


@dataclass(frozen=True, slots=True)
class CallableTool:
    """A tool that a forced tool call may name.

    ``parameters``: the JSON schema of its arguments. ``strict``: whether to refuse a schema with keywords that the
    engine does not support; otherwise, the engine ignores such keywords.
    """

    name: str
    parameters: Mapping[str, Any]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One forced tool call: the text that follows ``tools.forced_prefix``.

    ``tools``: the tools that may be called. ``is_named``: whether the prefix already names the tool; ``tools`` then
    holds only this tool.
    """

    tools: tuple[CallableTool, ...]
    is_named: bool


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint. ``value``: the value for the field of ``Sampling`` with the name ``kind``.

    Raises:
        ConfigurationError: the value has the wrong type.

    Example:
        >>> Constraint.choice("yes", "no").kind
        <Kind.CHOICE: 'choice'>
    """

    kind: Kind
    value: Any

    def __post_init__(self) -> None:
        check_value(self.kind, self.value)

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any]) -> Constraint:
        """The text is JSON that follows ``schema``."""
        return cls(Kind.JSON_SCHEMA, schema)

    @classmethod
    def regex(cls, pattern: str) -> Constraint:
        """The whole text matches ``pattern``, a regular expression without lookarounds and back-references."""
        return cls(Kind.REGEX, pattern)

    @classmethod
    def choice(cls, *texts: str) -> Constraint:
        """The text is one of ``texts``."""
        return cls(Kind.CHOICE, texts)

    @classmethod
    def of(cls, sampling: Sampling) -> Constraint | None:
        """The constraint of a request; ``None`` if it has none."""
        for kind in Kind:
            value = getattr(sampling, kind)
            if value is not None:
                return cls(kind, value)
        return None

    def fields(self, begun: str) -> dict[str, Any]:
        """The fields of a ``Sampling``; ``begun`` is the beginning of the text, which is already in the prompt."""
        return {str(self.kind): self.value, "begun": begun}


_FORMS = {
    Kind.JSON_SCHEMA: "a JSON schema as a mapping",
    Kind.REGEX: "a regular expression that is not empty, as a string",
    Kind.CHOICE: "a tuple of different strings that are not empty",
    Kind.TOOL_CALL: "relay_core.constraint.ToolCall(...)",
}


def check_value(kind: Kind, value: Any) -> None:
    """Check the value of a constraint.

    Raises:
        ConfigurationError: the value has the wrong type.
    """
    if kind is Kind.JSON_SCHEMA:
        is_right = isinstance(value, Mapping)
    elif kind is Kind.REGEX:
        is_right = isinstance(value, str) and bool(value)
    elif kind is Kind.CHOICE:
        is_right = isinstance(value, tuple) and _are_different_texts(value)
    else:
        is_right = isinstance(value, ToolCall) and bool(value.tools)
    if not is_right:
        raise ConfigurationError(f"{kind} is {value!r}: write {_FORMS[kind]}")


def _are_different_texts(values: tuple[Any, ...]) -> bool:
    return all(isinstance(text, str) and text for text in values) and 0 < len(values) == len(set(values))
