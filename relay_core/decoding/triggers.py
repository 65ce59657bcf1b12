"""Triggers: what makes a call.

A :class:`Trigger` is a frozen value that any number of answers share. For each answer it makes a :class:`Decider`,
which holds whatever must be remembered within one answer (a gap since the last call, draws from the answer's seed) and
is asked at two points:

    on_command      the student wrote `<call>n</call>`; how many tokens to ask the teacher for?
    before_token    the student sampled a token that is not written yet; write it, or ask the teacher instead?

The loop, the transcript, budgets, usage and events are the same for every trigger, and nothing else decides who
writes. A trigger of your own subclasses both; ``tests/decoding/test_triggers.py`` holds one of ten lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from relay_core.command import Call
from relay_core.engines.base import Token


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that the student sampled and that is not written yet.

    ``token``: what the student's engine says of it (id, text, log-probability). ``position``: how many tokens the
    answer has before it, whoever wrote them.
    """

    token: Token
    position: int


class Decider:
    """A trigger at work in one answer. This one never calls; subclasses override what they need."""

    #: a command can open a call; where not, the student's engine need not stop at one, and no teacher is warmed
    reads_commands: bool = False
    #: ``before_token`` is asked about every token
    reads_tokens: bool = False

    def on_command(self, command: Call) -> int:
        """Tokens to ask the teacher for at this command; 0 refuses it. Budgets apply afterwards."""
        return 0

    def before_token(self, candidate: Candidate) -> int:
        """Tokens to ask the teacher for in place of this token; 0 writes the token."""
        return 0


class Trigger(ABC):
    """What makes a call: a frozen value, compared by content."""

    @abstractmethod
    def decider(self, seed: int | None) -> Decider:
        """A decider for one answer; ``seed`` is the answer's, for triggers that draw."""


class _AsWritten(Decider):
    reads_commands = True

    def on_command(self, command: Call) -> int:
        return command.n


@dataclass(frozen=True, slots=True)
class Commands(Trigger):
    """A call opens where the student wrote `<call>n</call>` (paper, section 3.1)."""

    def decider(self, seed: int | None) -> Decider:
        return _AsWritten()


@dataclass(frozen=True, slots=True)
class Never(Trigger):
    """No call opens (teacher-free inference; what ``calls=False`` means). A command is refused, counted and hidden."""

    def decider(self, seed: int | None) -> Decider:
        return Decider()
