"""The settings of an answer: budgets, sampling, prices. They are checked when built and never change."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from relay_core.decoding.triggers import Commands, Never, Trigger, as_trigger
from relay_core.errors import BudgetError, ConfigurationError, did_you_mean

COMMANDS = Commands()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of both models in US dollars (or any one currency) per million tokens.

    ``student_cached_input`` and ``teacher_cached_input`` default to the price of uncached input.
    """

    student_input: float = 0.0
    student_output: float = 0.0
    teacher_input: float = 0.0
    teacher_output: float = 0.0
    student_cached_input: float | None = None
    teacher_cached_input: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not (_is_number(value) and value >= 0) and not (value is None and f.default is None):
                raise ConfigurationError(f"Prices.{f.name} is {value!r}: write a price per million tokens, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Budgets, sampling and prices of an answer.

    Args:
        max_tokens: the most tokens of the whole answer: student, command and teacher together.
        max_calls: the most calls per answer; ``None`` for no limit. The default, 16, is about three times the limit of
            the paper's evaluation (5), and limits a student that keeps calling. If the limit is reached,
            ``RelayResult.notes`` reports it.
        max_call_tokens: the most teacher tokens per call.
        max_teacher_tokens: the most teacher tokens per answer.
        deadline_s: the most seconds for the whole answer.
        teacher_timeout_s: the most seconds for one call; the tokens that arrived in time stay in the answer.
        on_teacher_error: with ``"continue"``, the failure is counted and the student continues alone; with ``"raise"``,
            the answer ends with :class:`~relay_core.errors.TeacherUnavailable`, which holds the transcript so far.
        on_teacher_stop: whether the teacher's end token ends the answer (``"finish"``) or returns control to the
            student (``"continue"``).
        calls: with ``False``, every call of any trigger is refused and counted (teacher-free inference, in the paper).
        trigger: what makes a call (``relay_core/decoding/triggers.py``): ``Commands()`` (the default), ``Uncertain``,
            ``Hidden``, ``Chance``, ``Never()`` or a trigger of your own; also as a string, such as
            ``"uncertain:0.4,8"``.
        student_instructions: a text that tells the student when to call (``relay_core.instructions``). It is added to
            the student's system message, and never to the teacher's prompt.
        temperature, top_p, top_k, seed: the student's sampling. ``temperature`` 0 is greedy. A seed makes an answer
            repeatable if the engine runs no other request at the same time; in a shared batch, the result can vary. A
            model in bfloat16 or float16 may answer differently in a shared batch at temperature 0 too.
        stop: strings at which the answer ends; the answer does not contain them.
        teacher_temperature, teacher_top_p, teacher_top_k: the teacher's sampling; ``None`` means the student's. With
            ``teacher_top_k`` 0, the teacher has no top-k.
        prices: the prices for :attr:`RelayResult.cost`; without prices, the cost is ``None``.
        warming: whether the teacher receives its prompt at ``<call>``, while the student is still writing the command.
            ``"auto"`` warms a teacher whose engine recommends it (``Engine.warms``), ``"on"`` every teacher whose
            engine can be warmed, and ``"off"`` none. The answer is the same. Wasted tokens are counted in the usage,
            but not against the token budgets.
        enable_thinking: whether the chat templates of both models let the model think (``<think>``). The paper turns
            thinking off. Thoughts are part of the answer and count towards its budgets.

    Raises:
        ConfigurationError: a value has the wrong type or is outside its range.
        BudgetError: budgets that contradict each other or can never be met.
    """

    max_tokens: int = 1024
    max_calls: int | None = 16
    max_call_tokens: int | None = None
    max_teacher_tokens: int | None = None
    deadline_s: float | None = None
    teacher_timeout_s: float | None = None
    on_teacher_error: Literal["continue", "raise"] = "continue"
    on_teacher_stop: Literal["finish", "continue"] = "finish"
    calls: bool = True
    trigger: Trigger = COMMANDS
    student_instructions: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    teacher_temperature: float | None = None
    teacher_top_p: float | None = None
    teacher_top_k: int | None = None
    prices: Prices | None = None
    warming: Literal["auto", "on", "off"] = "auto"
    enable_thinking: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        elif self.stop is None:
            object.__setattr__(self, "stop", ())
        elif isinstance(self.stop, (list, tuple)):
            object.__setattr__(self, "stop", tuple(self.stop))
        object.__setattr__(self, "trigger", as_trigger(self.trigger))
        if isinstance(self.prices, Mapping):
            object.__setattr__(self, "prices", _prices(self.prices))
        self._check_kinds()
        self._check_budgets()

    @property
    def teacher_sampling(self) -> dict[str, Any]:
        """The teacher's ``temperature``, ``top_p`` and ``top_k``."""
        top_k = self.top_k if self.teacher_top_k is None else self.teacher_top_k or None
        return {
            "temperature": self.temperature if self.teacher_temperature is None else self.teacher_temperature,
            "top_p": self.top_p if self.teacher_top_p is None else self.teacher_top_p,
            "top_k": top_k,
        }

    def _check_kinds(self) -> None:
        _number("temperature", self.temperature, low=0)
        _number("top_p", self.top_p, low=0, high=1, open_low=True)
        if self.teacher_temperature is not None:
            _number("teacher_temperature", self.teacher_temperature, low=0)
        if self.teacher_top_p is not None:
            _number("teacher_top_p", self.teacher_top_p, low=0, high=1, open_low=True)
        if self.top_k is not None:
            _count("top_k", self.top_k, low=1)
        if self.teacher_top_k is not None:
            _count("teacher_top_k", self.teacher_top_k, low=0)
        if self.seed is not None:
            _count("seed", self.seed, low=0)
        _choice("on_teacher_error", self.on_teacher_error, ("continue", "raise"))
        _choice("on_teacher_stop", self.on_teacher_stop, ("finish", "continue"))
        _choice("warming", self.warming, ("auto", "on", "off"))
        if not isinstance(self.enable_thinking, bool):
            raise ConfigurationError(f"enable_thinking is {self.enable_thinking!r}: write True or False")
        if not isinstance(self.calls, bool):
            raise ConfigurationError(f"calls is {self.calls!r}: write True, or False for teacher-free")
        if self.student_instructions is not None and not isinstance(self.student_instructions, str):
            raise ConfigurationError(f"student_instructions is {self.student_instructions!r}: write a text, or None")
        if not isinstance(self.stop, tuple) or not all(isinstance(s, str) and s for s in self.stop):
            raise ConfigurationError(f"stop is {self.stop!r}: write a string or a list of non-empty strings")
        if self.prices is not None and not isinstance(self.prices, Prices):
            raise ConfigurationError(f"prices is {self.prices!r}: write Prices(...) or a dict of its fields")

    def _check_budgets(self) -> None:
        _count("max_tokens", self.max_tokens, low=1, error=BudgetError)
        for name in ("max_calls", "max_call_tokens", "max_teacher_tokens"):
            value = getattr(self, name)
            if value is not None:
                _count(name, value, low=0 if name != "max_call_tokens" else 1, error=BudgetError)
        for name in ("deadline_s", "teacher_timeout_s"):
            value = getattr(self, name)
            if value is not None:
                _number(name, value, low=0, open_low=True, error=BudgetError)
        if (
            self.max_call_tokens is not None
            and self.max_teacher_tokens is not None
            and 0 < self.max_teacher_tokens < self.max_call_tokens
        ):
            raise BudgetError(
                f"max_call_tokens={self.max_call_tokens} is more than max_teacher_tokens="
                f"{self.max_teacher_tokens} for the whole answer: lower the first or raise the second"
            )

    @property
    def active_trigger(self) -> Trigger:
        """The trigger; ``Never()`` with ``calls=False``."""
        return self.trigger if self.calls else Never()

    def merged(self, overrides: Mapping[str, Any]) -> RelaySettings:
        """A copy of these settings with the values of ``overrides``; the copy is checked, too.

        Raises:
            ConfigurationError: a name is unknown (the message suggests the closest known name), or a value is invalid.
        """
        if not overrides:
            return self
        check_setting_names(overrides)
        return dataclasses.replace(self, **overrides)


def check_setting_names(names: Iterable[str]) -> None:
    """Refuse names that no setting has.

    Raises:
        ConfigurationError: a name is unknown; the message suggests the closest known name.
    """
    known = {f.name for f in fields(RelaySettings)}
    for name in names:
        if name not in known:
            raise ConfigurationError(f"no setting is called {name!r}; {did_you_mean(name, known)}")


def _prices(values: Mapping[str, Any]) -> Prices:
    known = [f.name for f in fields(Prices)]
    if unknown := sorted(map(str, set(values).difference(known))):
        raise ConfigurationError(f"prices has {', '.join(unknown)}; known: {', '.join(known)}")
    return Prices(**values)


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _number(
    name: str,
    value: Any,
    *,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
    error: type[ConfigurationError] | type[BudgetError] = ConfigurationError,
) -> None:
    if not _is_number(value) or value < low or value > high or (open_low and value == low):
        least = f"more than {low:g}" if open_low else f"{low:g} or more"
        most = "" if high == math.inf else f", at most {high:g}"
        raise error(f"{name} is {value!r}: write a number, {least}{most}")


def _count(
    name: str, value: Any, *, low: int, error: type[ConfigurationError] | type[BudgetError] = ConfigurationError
) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise error(f"{name} is {value!r}: write a whole number, {low} or more")


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name} is {value!r}: write {' or '.join(map(repr, choices))}")
