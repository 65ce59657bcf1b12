"""The flags for models and settings that the CLI commands share.

A CLI command declares one parameter, ``options: Options``, and :func:`with_options` replaces this parameter with the
flags. A flag that the user leaves out is not passed on, so the defaults are those of ``RelaySettings``.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.decoding.triggers import ACCEPTED_TRIGGERS, Commands
from relay_core.engines.spec import ACCEPTED_SPECS, EngineSpec, Scheme
from relay_core.errors import ConfigurationError
from relay_core.instructions import BY_NAME, named
from relay_core.settings import Prices, RelaySettings

if TYPE_CHECKING:
    from relay_core.events import RelayResult
    from relay_core.relay import Relay

STUDENT_HELP = f"The model that leads: {ACCEPTED_SPECS}."
TEACHER_HELP = "The model that is called, as for --student. Its key: RELAY_TEACHER_API_KEY, else OPENAI_API_KEY."
NEVER_CALLED = (
    "the student wrote no command: a student calls only if it was trained to (relay_core.train) or told to "
    "(--instructions); --trigger uncertain:0.4,8 calls where it is unsure"
)
JSON_HELP = "Write exactly one JSON object to stdout."


@dataclass(frozen=True, slots=True)
class Options:
    """The values of the shared flags: the engine specs of both models, the settings, and whether to write JSON.

    ``given``: the names of the settings that the command line sets; the others have their defaults.
    """

    student: str
    teacher: str
    settings: RelaySettings
    json: bool
    given: frozenset[str] = frozenset()

    def hint(self, result: RelayResult) -> str:
        """What to try after an answer of a student of the user's own; empty if there is nothing to say."""
        if self.student.startswith("bundled"):
            return ""
        trigger = self.settings.active_trigger
        waits = isinstance(trigger, Commands) and trigger.bias >= 0
        if waits and not result.calls and not result.usage.refused_calls:
            return f"({NEVER_CALLED})"
        if result.calls and self.teacher == _DEFAULTS["teacher"]:
            return "(the teacher is the bundled one, which knows only its own task: name yours with --teacher)"
        return ""

    def relay(self) -> Relay:
        """Build the relay from these specs and settings; loads no model.

        Raises:
            ConfigurationError: a spec cannot be used.
        """
        from relay_core.relay import Relay

        quiet_loading(self.student, self.teacher)
        return Relay(self.student, self.teacher, self.settings)


def quiet_loading(*specs: str) -> None:
    """Hide the libraries' progress bars if every spec names a bundled model, because these models load instantly.

    Call it before any model loads.

    Raises:
        ConfigurationError: a spec cannot be read.
    """
    if all(EngineSpec.parse(spec).scheme is Scheme.BUNDLED for spec in specs):
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _flag(kind: Any, help: str, *names: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(*names, help=help, show_default=False, **more)]


_CALLS, _BUDGETS, _SAMPLING = ({"rich_help_panel": panel} for panel in ("Calls", "Budgets", "Sampling"))
#: the flag for each field of RelaySettings except calls, student_instructions and prices
_SETTINGS: dict[str, Any] = {
    "max_tokens": _flag(int | None, "The most tokens of the answer, both models together.", **_BUDGETS),
    "max_calls": _flag(int | None, "The most calls per answer.", **_BUDGETS),
    "max_call_tokens": _flag(int | None, "The most teacher tokens per call.", **_BUDGETS),
    "max_teacher_tokens": _flag(int | None, "The most teacher tokens per answer.", **_BUDGETS),
    "deadline_s": _flag(float | None, "The most seconds for the whole answer.", "--deadline", **_BUDGETS),
    "teacher_timeout_s": _flag(float | None, "The most seconds for one call.", "--teacher-timeout", **_BUDGETS),
    "on_teacher_error": _flag(
        str | None, "If the teacher fails: continue (with the student alone) or raise.", **_BUDGETS
    ),
    "on_teacher_stop": _flag(
        str | None, "At the teacher's end token: finish, or continue with the student.", **_BUDGETS
    ),
    "warming": _flag(
        str | None,
        "Send the teacher its prompt as soon as the student has written <call>: auto, on or off.",
        **_BUDGETS,
    ),
    "enable_thinking": _flag(
        bool | None, "Let both models think (<think>), if their templates can.", "--thinking/--no-thinking", **_SAMPLING
    ),
    "trigger": _flag(str | None, f"What makes a call: {ACCEPTED_TRIGGERS}.", **_CALLS),
    "temperature": _flag(float | None, "0 (the default) is greedy decoding.", **_SAMPLING),
    "top_p": _flag(float | None, "Nucleus sampling.", **_SAMPLING),
    "top_k": _flag(int | None, "Sample from the k likeliest tokens only.", **_SAMPLING),
    "seed": _flag(int | None, "Makes a sampled answer repeatable while the model answers nothing else.", **_SAMPLING),
    "teacher_temperature": _flag(float | None, "The teacher's temperature, if it differs.", **_SAMPLING),
    "teacher_top_p": _flag(float | None, "The teacher's nucleus sampling, if it differs.", **_SAMPLING),
    "teacher_top_k": _flag(int | None, "The teacher's top-k, if it differs; 0 for none.", **_SAMPLING),
    "stop": _flag(list[str] | None, "End at this text; can be given several times.", **_SAMPLING),
}
_OTHERS: dict[str, Any] = {
    "student": Annotated[str, typer.Option("--student", help=STUDENT_HELP)],
    "teacher": Annotated[str, typer.Option("--teacher", help=TEACHER_HELP)],
    "no_calls": _flag(bool, "Refuse every call: the student answers alone.", "--no-calls", **_CALLS),
    "instructions": _flag(
        str | None, f"Tell the student when to call: {', '.join(BY_NAME)}, or a text of your own.", **_CALLS
    ),
    "price": _flag(
        list[str] | None,
        "NAME=AMOUNT per million tokens, several times; what is left out is 0. Names: student_input, student_output, "
        "teacher_input, teacher_output, student_cached_input, teacher_cached_input.",
        "--price",
        rich_help_panel="Budgets",
    ),
    "json": Annotated[bool, typer.Option("--json", help=JSON_HELP)],
}
_DEFAULTS: dict[str, Any] = {"student": "bundled", "teacher": "bundled", "no_calls": False, "json": False}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``options`` of a CLI command with the shared flags.

    If the command declares a parameter of its own with the name of a shared flag, it replaces this flag.
    """
    own_parameters = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "options"]
    own_names = {p.name for p in own_parameters}
    shared = {name: annotation for name, annotation in {**_OTHERS, **_SETTINGS}.items() if name not in own_names}

    @functools.wraps(command)
    def run(**flags: Any) -> None:
        shared_flags = {name: flags.pop(name) for name in shared}
        command(options=_read(shared_flags), **flags)

    shared_parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=annotation)
        for name, annotation in shared.items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own_parameters] + shared_parameters
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _read(flags: dict[str, Any]) -> Options:
    settings = {name: flags[name] for name in _SETTINGS if flags.get(name) not in (None, [])}
    if flags.get("no_calls"):
        settings["calls"] = False
    if flags["instructions"]:
        text = flags["instructions"]
        settings["student_instructions"] = named(text) if text.isidentifier() else text
    if flags["price"]:
        settings["prices"] = read_prices(flags["price"])
    return Options(flags["student"], flags["teacher"], RelaySettings(**settings), flags["json"], frozenset(settings))


def read_prices(items: list[str]) -> Prices:
    """Read prices per million tokens, such as ``["teacher_output=0.40"]``.

    Raises:
        ConfigurationError: an item is not of the form NAME=AMOUNT, or its name is unknown.
    """
    known = list(Prices.__dataclass_fields__)
    prices: dict[str, float] = {}
    for item in items:
        name, _, amount = item.partition("=")
        name = name.strip().replace("-", "_")
        try:
            prices[name] = float(amount)
        except ValueError:
            raise ConfigurationError(f"--price {item!r}: write NAME=AMOUNT, such as teacher_output=0.40") from None
        if name not in known:
            raise ConfigurationError(f"--price {item!r}: there is no {name!r}; names: {', '.join(known)}")
    return Prices(**prices)
