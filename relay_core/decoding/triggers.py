"""Triggers: what makes a call.

A :class:`Trigger` is a frozen value that any number of answers share. For each answer it makes a :class:`Decider`,
which holds the state that belongs to this answer (the place of the last call, a random generator). The loop asks it at
two points:

    on_command      the student wrote `<call>n</call>`; how many tokens to ask the teacher for?
    before_token    the student sampled a token that is not written yet; write it, or ask the teacher instead?

A trigger proposes a call, and a budget may refuse it. The loop, the transcript, budgets, usage and events are the same
for every trigger.

To write a trigger, subclass :class:`Trigger` and :class:`Decider`; ``tests/decoding/test_triggers.py`` has three
examples. So far only ``decoding.loop.Answer`` takes a trigger; ``Relay`` chooses one of the two here by the setting
``calls``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from relay_core.command import Call
from relay_core.engines.base import Token


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that the student sampled and that is not written yet.

    ``token``: its id, text and log-probability, as the student's engine delivered them. ``position``: the number of
    tokens in the answer before it, by both models.
    """

    token: Token
    position: int


class Decider:
    """Decides about the calls of one answer. This class never calls; subclasses override the methods they need."""

    #: whether a command can open a call; if not, the student's engine need not stop at a command, and no teacher is
    #: warmed
    reads_commands: bool = False
    #: whether the loop asks ``before_token`` about every token
    reads_tokens: bool = False

    def on_command(self, command: Call) -> int:
        """How many tokens to ask the teacher for at this command; 0 refuses it. Budgets apply afterwards."""
        return 0

    def before_token(self, candidate: Candidate) -> int:
        """How many tokens to ask the teacher for in place of this token; 0 writes the token."""
        return 0


class Trigger(ABC):
    """What makes a call: a frozen value, compared by content."""

    @abstractmethod
    def decider(self, seed: int | None) -> Decider:
        """A decider for one answer.

        Args:
            seed: the answer's seed, for triggers that draw at random.
        """


class _AsWritten(Decider):
    reads_commands = True

    def on_command(self, command: Call) -> int:
        return command.n


@dataclass(frozen=True, slots=True)
class Commands(Trigger):
    """A call opens when the student has written `<call>n</call>` (paper, section 3.1)."""

    def decider(self, seed: int | None) -> Decider:
        return _AsWritten()


@dataclass(frozen=True, slots=True)
class Never(Trigger):
    """No call opens (teacher-free inference; what ``calls=False`` means). A command is refused, counted and hidden."""

    def decider(self, seed: int | None) -> Decider:
        return Decider()
