"""Triggers: what makes a call.

A :class:`Trigger` is a frozen value that any number of answers share. For each answer, it makes a :class:`Decider`,
which holds the state of this answer (such as a random generator). The loop asks the decider at two points:

    on_command the student has written `<call>n</call>`: how many tokens to request from the teacher?
    before_token the student has sampled a token, which is not written yet: write it, or call the teacher instead?

A trigger proposes a call, and a budget may refuse it. If a call opens in the middle of a character, it waits until the
character is complete. The loop, the transcript, budgets, usage and events are the same for every trigger.

To write a trigger, subclass :class:`Trigger` and :class:`Decider`; docs/triggers.md has an example. The triggers that
ship can also be parsed from a string (:func:`parse_trigger`); ``str`` returns this string.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from relay_core.command import Call
from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from relay_core.engines.base import Engine, Token

MAX_BIAS = 100  # the largest bias of commands, which is that of ``Sampling.logit_bias``
#: requests as many tokens as the budgets allow
REST = 10**9
#: A function that returns whether a stream ends with a token, which is then not written. Its first argument is the
#: number of tokens that the request has written before this token. An engine may call it on any thread.
Halt = Callable[[int, "Token"], bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that the student sampled and that is not written yet.

    ``token``: the id, text and log-probabilities that the student's engine delivered; it may be the end token.
    ``position``: the number of tokens in the answer before it, by both models. ``since_call``: the number of tokens
    that the student has written since the latest call; ``None`` before the first call.
    """

    token: Token
    position: int
    since_call: int | None = None


class Decider:
    """Decides about the calls of one answer. This class never calls; subclasses override the methods they need."""

    #: whether a command can open a call; if not, the student's engine need not stop at a command, and the teacher is
    #: not warmed
    reads_commands: bool = False
    #: whether the loop asks ``before_token`` about every token
    reads_tokens: bool = False

    def on_command(self, command: Call) -> int:
        """How many tokens to request from the teacher at this command; 0 refuses it. Budgets apply afterwards."""
        return 0

    def before_token(self, candidate: Candidate) -> int:
        """How many tokens to request from the teacher instead of this token; 0 writes the token."""
        return 0

    def halt(self, since_call: int | None) -> Halt | None:
        """The token at which the next request should end, for engines that can end a stream by themselves.

        The loop still asks :meth:`before_token` about this token. Without a ``halt``, the loop closes the stream, and
        tokens that the engine has sampled in the meantime are discarded.

        Args:
            since_call: as in :class:`Candidate`, at the beginning of the request.
        """
        return None


class Trigger(ABC):
    """What makes a call: a frozen value, compared by content."""

    #: whether the trigger needs ``Token.top_logprob``; a student whose engine cannot give it is refused at the start
    needs_top_logprob: bool = False

    @property
    def command_bias(self) -> float:
        """What is added to the logits of the tokens that can begin a command; 0 leaves them as they are."""
        return 0.0

    @property
    def needed_head(self) -> str | None:
        """The folder of the head whose ``Token.head_probability`` the trigger needs; ``None`` without a head."""
        return None

    @abstractmethod
    def decider(self, seed: int | None) -> Decider:
        """A decider for one answer.

        Args:
            seed: the answer's seed, for triggers that draw at random.
        """


# -- commands ----------------------------------------------------------------------------------------------------


class _Reads(Decider):
    reads_commands = True

    def __init__(self, n: int | None) -> None:
        self._n = n

    def on_command(self, command: Call) -> int:
        return command.n if self._n is None or not command.n else self._n


@dataclass(frozen=True, slots=True)
class Commands(Trigger):
    """A call opens when the student has written `<call>n</call>` (paper, section 3.1).

    Args:
        n: with ``None``, the number in the command is requested; a number replaces the number in the command (100 is
            the paper's Fixed-100); ``"rest"`` requests as many tokens as the budgets allow, so that the teacher can
            finish the answer.
        bias: what is added to the student's logits of the tokens that can begin a command, from -100 to 100. With less
            than 0, the student calls in fewer places, the ones that it is surest about; with more, in more places. It
            needs a student whose engine can change logits and whose vocabulary is on this machine.

    Raises:
        ConfigurationError: ``n`` or ``bias`` has another value.
    """

    n: int | Literal["rest"] | None = None
    bias: float = 0.0

    def __post_init__(self) -> None:
        if self.n is not None and self.n != "rest":
            check_count("Commands", "n", self.n, low=1, more=", 'rest' or None")
        if not isinstance(self.bias, (int, float)) or isinstance(self.bias, bool) or not abs(self.bias) <= MAX_BIAS:
            raise ConfigurationError(
                f"Commands: bias is {self.bias!r}: write a number from -{MAX_BIAS} to {MAX_BIAS}, such as -2"
            )

    @property
    def command_bias(self) -> float:
        return self.bias

    def __repr__(self) -> str:  # kept answers are found by it, those from before there was a bias, too
        return f"Commands(n={self.n!r}" + (f", bias={self.bias!r})" if self.bias else ")")

    def decider(self, seed: int | None) -> Decider:
        return _Reads(REST if self.n == "rest" else self.n)

    def __str__(self) -> str:
        arguments = [] if self.n is None else [str(self.n)]
        arguments += [f"bias={self.bias:g}"] if self.bias else []
        return "commands" + (":" + ",".join(arguments) if arguments else "")


@dataclass(frozen=True, slots=True)
class Never(Trigger):
    """No call opens (teacher-free inference, like ``calls=False``). Commands are refused, counted and hidden."""

    def decider(self, seed: int | None) -> Decider:
        return Decider()

    def __str__(self) -> str:
        return "never"


# -- tokens ------------------------------------------------------------------------------------------------------


class _Doubts(Decider):
    reads_tokens = True

    def __init__(self, below: float, n: int, gap: int) -> None:
        self._below, self._n, self._gap = math.log(below), n, gap

    def before_token(self, candidate: Candidate) -> int:
        if candidate.since_call is not None and candidate.since_call < self._gap:
            return 0
        top = candidate.token.top_logprob
        return self._n if top is not None and top < self._below else 0

    def halt(self, since_call: int | None) -> Halt:
        below, wait = self._below, 0 if since_call is None else self._gap - since_call
        return lambda written, token: token.top_logprob is not None and token.top_logprob < below and written >= wait


@dataclass(frozen=True, slots=True)
class Uncertain(Trigger):
    """A call opens where the student is unsure: at a token position whose likeliest token has a probability below
    ``below``.

    The probability is that of the student's own distribution (temperature 1, no cut-offs). The sampled token is not
    written; the teacher writes ``n`` tokens instead.

    Args:
        below: the bound, above 0 and at most 1.
        n: the number of teacher tokens that a call requests.
        gap: the number of tokens that the student must write after a call before the next call can open.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    below: float
    n: int
    gap: int = 0

    needs_top_logprob = True

    def __post_init__(self) -> None:
        check_share("Uncertain", "below", self.below)
        check_count("Uncertain", "n", self.n, low=1)
        check_count("Uncertain", "gap", self.gap, low=0)

    def decider(self, seed: int | None) -> Decider:
        return _Doubts(self.below, self.n, self.gap)

    def __str__(self) -> str:
        return f"uncertain:{self.below:g},{self.n}" + (f",{self.gap}" if self.gap else "")


class _Draws(Decider):
    """Draws in advance how many tokens are written before the next call, so that an engine can stop there by itself."""

    reads_tokens = True

    def __init__(self, p: float, n: int, seed: int | None) -> None:
        self._p, self._n, self._rng = p, n, random.Random(seed)
        self._left = self._draw()

    def _draw(self) -> int:
        """The number of failures before the first success of trials with probability p."""
        if self._p == 1:
            return 0
        return int(math.log(1 - self._rng.random()) / math.log1p(-self._p))

    def before_token(self, candidate: Candidate) -> int:
        if self._left:
            self._left -= 1
            return 0
        self._left = self._draw()
        return self._n

    def halt(self, since_call: int | None) -> Halt:
        wait = self._left
        return lambda written, token: written >= wait


@dataclass(frozen=True, slots=True)
class Chance(Trigger):
    """Instead of each of the student's tokens, a call opens with probability ``p``; the draws depend on the answer's
    seed.

    Args:
        p: the probability, above 0 and at most 1.
        n: the number of teacher tokens that a call requests.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    p: float
    n: int

    def __post_init__(self) -> None:
        check_share("Chance", "p", self.p)
        check_count("Chance", "n", self.n, low=1)

    def decider(self, seed: int | None) -> Decider:
        return _Draws(self.p, self.n, seed)

    def __str__(self) -> str:
        return f"chance:{self.p:g},{self.n}"


def no_top_logprob(student: Engine, trigger: Trigger) -> ConfigurationError:
    """The error if the student's engine does not report the probability that ``trigger`` needs."""
    return ConfigurationError(
        f"the trigger {trigger} needs the probability of the student's likeliest token, which {student.spec} does not "
        "give: use a student in this process (transformers:, vllm:) or an endpoint with top_logprobs, or write "
        "trigger='commands' (a student that was trained or told to call) or 'chance:0.05,8'"
    )


# -- strings -----------------------------------------------------------------------------------------------------

_FORMS = "commands, commands:100, commands:rest, commands:bias=-2, commands:100,bias=-2, "
_FORMS += "uncertain:0.4,8 (below, n), uncertain:0.4,8,2 (with a gap), "
ACCEPTED_TRIGGERS = _FORMS + "hidden:FOLDER,0.5,1 (head, above, n), chance:0.02,8 (p, n), never"


def parse_trigger(text: str) -> Trigger:
    """Parse a trigger from a string; this function can parse the ``str`` of a trigger.

    Raises:
        ConfigurationError: the string does not match any of :data:`ACCEPTED_TRIGGERS`, or a value is outside its range.
    """
    name, colon, rest = text.strip().partition(":")
    values = [value.strip() for value in rest.split(",")] if colon else []
    try:
        if name == "commands":
            return _parse_commands(values)
        if name == "never" and not values:
            return Never()
        if name == "chance" and len(values) == 2:
            return Chance(float(values[0]), int(values[1]))
        if name == "uncertain" and 2 <= len(values) <= 3:
            return Uncertain(float(values[0]), *map(int, values[1:]))
        if name == "hidden" and colon:
            from relay_core.decoding.hidden import parse_hidden

            return parse_hidden(rest)
    except ConfigurationError:
        raise
    except ValueError:
        pass
    raise ConfigurationError(f"trigger is {text!r}: write one of {ACCEPTED_TRIGGERS}")


def _parse_commands(values: list[str]) -> Commands:
    """``Commands`` from its arguments; raises ValueError if they are none."""
    bias = values.pop().removeprefix("bias=") if values and values[-1].startswith("bias=") else "0"
    if len(values) > 1:
        raise ValueError(values)
    n = values[0] if values else None
    if n is not None and n.lstrip("+-") != n:
        raise ConfigurationError(f"trigger is 'commands:{n}': for a bias, write commands:bias={n}")
    return Commands(n if n is None or n == "rest" else int(n), float(bias))  # type: ignore[arg-type]


def as_trigger(value: object) -> Trigger:
    """Return a trigger unchanged, or parse it from a string.

    Raises:
        ConfigurationError: ``value`` is neither a trigger nor a string that names one.
    """
    if isinstance(value, Trigger):
        return value
    if isinstance(value, str):
        return parse_trigger(value)
    raise ConfigurationError(
        f"trigger is {value!r}: write Commands(), Uncertain(...), Hidden(...), Chance(...), Never(), a trigger of "
        f"your own, or one of {ACCEPTED_TRIGGERS}"
    )


def check_share(trigger: str, name: str, value: object) -> None:
    """Raise ConfigurationError unless a trigger's argument is a probability above 0."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= 1:
        raise ConfigurationError(f"{trigger}: {name} is {value!r}: write a probability, above 0 and at most 1")


def check_count(trigger: str, name: str, value: object, *, low: int, more: str = "") -> None:
    """Raise ConfigurationError unless a trigger's argument is a whole number; ``more`` names further values."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < REST:
        raise ConfigurationError(f"{trigger}: {name} is {value!r}: write a whole number, {low} or more{more}")
