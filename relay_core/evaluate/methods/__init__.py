"""Methods: ways of deciding who writes, each a trigger with a student and a teacher, or a router of whole prompts.

    student, teacher, relay, teacher-free, told, hand-off      no arguments
    relay:bias=-2                                              a bias of the commands that it has learnt
    fixed:20  random-tokens:0.02,8  uncertain:0.4,8            arguments after a colon
    random-router:0.5  cascade:min,-1.2  citer:FOLDER,0.5
    grpo:MODEL  relay-simple:MODEL  speculative:5
    relay,teacher=SPEC  uncertain:0.4,8,student=SPEC           other models
    relay,student=SPEC,label=no filter                         a name for the report
    speculative:5,limit=100                                    the first problems only, for a slow method

``methods_from`` reads a list of them; each has a module of its name here, with a function ``build``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module

from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.evaluate.methods.base import Decoded, Method, Models, Question

__all__ = [
    "NAMES",
    "Decoded",
    "Method",
    "Models",
    "Question",
    "has_other_base",
    "method_from_spec",
    "methods_from",
    "named",
    "split_specs",
    "without_label",
]

NAMES = (
    "student", "teacher", "relay", "teacher-free", "fixed", "hand-off", "random-router", "random-tokens", "uncertain",
    "told", "cascade", "citer", "grpo", "relay-simple", "speculative",
)  # fmt: skip
#: methods that make a cost-free comparison possible: what a run measures by default
DEFAULT = ("student", "relay", "teacher", "random-router:0.5")
_CHANGES = ("student", "teacher", "base", "label", "limit")
_CHANGE = re.compile(rf",({'|'.join(_CHANGES)})=")
_SEPARATOR = re.compile(r"([\s,])")


def split_specs(text: str) -> list[str]:
    """The methods in a text, separated by spaces or commas: ``"student,uncertain:0.4,8 relay"`` has three."""
    specs: list[str] = []
    between = ""
    for piece in _SEPARATOR.split(text):
        if not piece.strip(", \t\n"):
            between += piece
        elif piece.partition(":")[0] in NAMES or not specs:
            specs.append(piece)
            between = ""
        else:  # a part of the arguments before it
            specs[-1] += between + piece
            between = ""
    return specs


def methods_from(specs: Iterable[str], models: Models) -> list[Method]:
    """The methods that some texts name, each once, in their order.

    Raises:
        ConfigurationError: a name is unknown, an argument cannot be used, or two methods have one label.
    """
    parts = dict.fromkeys(part for spec in specs for part in split_specs(spec))
    if not parts:
        raise ConfigurationError(f"there is no method: write some of {', '.join(NAMES)}")
    methods = [method_from_spec(part, models) for part in parts]
    by_label: dict[str, str] = {}
    for method in methods:
        other = by_label.setdefault(method.label, method.spec)
        if other != method.spec and any(",label=" in spec for spec in (other, method.spec)):
            raise ConfigurationError(f"the methods {other!r} and {method.spec!r} have one label: write another ,label=")
    return methods


def has_other_base(spec: str) -> bool:
    """Whether a method names another base student (``,base=``) than the run's."""
    return any(match[1] == "base" for match in _CHANGE.finditer(spec))


def without_label(spec: str) -> str:
    """A method's spec without its label and its limit, which change no answer."""
    what, *changes = _CHANGE.split(spec)
    kept = (f",{name}={value}" for name, value in zip(changes[::2], changes[1::2], strict=True))
    return what + "".join(change for change in kept if not change.startswith((",label=", ",limit=")))


def named(spec: str, specs: Iterable[str]) -> str | None:
    """Which of ``specs`` is the method ``spec``, if any: that very text, or the first with only a label or a limit."""
    specs = list(specs)
    return spec if spec in specs else next((other for other in specs if without_label(other) == spec), None)


def method_from_spec(spec: str, models: Models) -> Method:
    """The method that ``spec`` names.

    Raises:
        ConfigurationError: the name is unknown, or an argument cannot be used.
    """
    what, *changes = _CHANGE.split(spec)
    name, _, arguments = what.partition(":")
    bare, comma, option = what.partition(",")
    if comma and bare in NAMES and "=" in option:
        raise ConfigurationError(
            f"the method {bare!r} has no {option.partition('=')[0]!r}; "
            f"{did_you_mean(option.partition('=')[0], _CHANGES)}"
        )
    if name not in NAMES:
        raise ConfigurationError(f"no method is called {name!r}; {did_you_mean(name, NAMES)}")
    if arguments and name in ("student", "teacher", "teacher-free", "hand-off"):
        raise ConfigurationError(f"the method {name} takes no arguments, and {spec!r} has {arguments!r}")
    others = dict(zip(changes[::2], changes[1::2], strict=True))
    label, limit = others.pop("label", ""), others.pop("limit", None)
    replaced = models.replaced(others)
    module = import_module(f"relay_core.evaluate.methods.{name.replace('-', '_')}")
    method: Method = module.build(spec, arguments, replaced)
    for source in method.sources:  # the run may have a method of the same name, with its own models
        source.spec += "".join(f",{role}={model}" for role, model in others.items())
    if label:
        method.label = method.curve = label
    elif others:
        named = ", ".join(f"{role} {model}" for role, model in others.items())
        method.label, method.curve = f"{method.label} ({named})", f"{method.curve} ({named})"
    if limit is not None:
        if not limit.isdecimal() or int(limit) < 1:
            raise ConfigurationError(f"the method {spec!r}: limit is a number of problems, such as limit=100")
        method.limit = int(limit)
        method.label += f", {limit} problems"
    return method
