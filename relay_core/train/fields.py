"""The kind and the range of each value of a recipe's section, checked from the annotations of its dataclass.

``rollouts: Annotated[int, AtLeast(1)]`` refuses ``three`` ("write a whole number") and 0 ("write 1 or more").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from relay_core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A number that is not below ``least``."""

    least: float

    def allows(self, value: float) -> bool:
        return value >= self.least

    def __str__(self) -> str:
        return f"{self.least:g} or more"


@dataclass(frozen=True, slots=True)
class Above:
    """A number that is greater than ``bound``."""

    bound: float

    def allows(self, value: float) -> bool:
        return value > self.bound

    def __str__(self) -> str:
        return f"more than {self.bound:g}"


Count = Annotated[int, AtLeast(1)]
CountOrNone = Annotated[int, AtLeast(0)]
NotNegative = Annotated[float, AtLeast(0)]
Positive = Annotated[float, Above(0)]

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}


def check_fields(section: str, values: Any) -> None:
    """Check each field of a dataclass against its annotation.

    Args:
        section: the section's name in the recipe, for errors; empty for the recipe itself.
        values: an instance of the dataclass.

    Raises:
        ConfigurationError: a value is of another kind, or out of its range.
    """
    hints = _hints(type(values))
    for field in fields(values):
        name = f"{section}.{field.name}" if section else field.name
        _check(name, getattr(values, field.name), hints[field.name])


def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _check(name: str, value: Any, hint: Any) -> None:
    if not _is(value, hint):
        number = " (YAML reads 1e-4 as text: write 1.0e-4)" if _is_number_as_text(value) and _takes(hint, float) else ""
        raise ConfigurationError(f"{name} is {value!r}: write {_words(hint)}{number}")
    for bound in _bounds(value, hint):
        if not bound.allows(value):
            raise ConfigurationError(f"{name} is {value!r}: write {bound}")
    if isinstance(value, Mapping):
        inner = next((get_args(h)[1] for h in _options(hint) if get_origin(h) is Mapping), Any)
        for key, item in value.items():
            _check(f"{name}.{key}", item, inner)
    elif isinstance(value, (list, tuple)):
        inner = next((get_args(h)[0] for h in _options(hint) if get_origin(h) is Sequence), Any)
        for i, item in enumerate(value):
            _check(f"{name}[{i}]", item, inner)


def _options(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union; one for any other annotation."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of a kind that the annotation allows, without a look at its range."""
    return any(_is_one(value, option) for option in _options(hint))


def _is_one(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Annotated:
        return _is_one(value, get_args(hint)[0])
    if origin is Literal:
        return value in get_args(hint)
    if origin is Sequence:
        return isinstance(value, (list, tuple))
    if hint is Any:
        return True
    if hint in (int, float):
        kinds = (int, float) if hint is float else (int,)
        return isinstance(value, kinds) and not isinstance(value, bool) and not math.isnan(value)
    return isinstance(value, origin or hint)


def _bounds(value: Any, hint: Any) -> list[AtLeast | Above]:
    matching = [h for h in _options(hint) if get_origin(h) is Annotated and _is_one(value, h)]
    return [bound for h in matching for bound in get_args(h)[1:]]


def _takes(hint: Any, kind: type) -> bool:
    return any(kind in (option, *get_args(option)[:1]) for option in _options(hint))


def _is_number_as_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _words(hint: Any) -> str:
    """What to write, such as ``a whole number or null``."""
    written = [word for option in _options(hint) for word in _words_of(option)]
    return written[0] if len(written) == 1 else f"{', '.join(written[:-1])} or {written[-1]}"


def _words_of(hint: Any) -> list[str]:
    origin = get_origin(hint)
    if origin is Annotated:
        return _words_of(get_args(hint)[0])
    if origin is Literal:
        return [str(value) for value in get_args(hint)]
    if origin is Sequence:
        return ["a list"]
    return [_WORDS.get(hint, "a mapping")]
