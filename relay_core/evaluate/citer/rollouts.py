"""The rollouts of CITER: where neither model writes the reference's token, both are tried, and the answers decide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay_core.chat import encode_text_async
from relay_core.decoding.hidden import Hidden
from relay_core.decoding.triggers import Candidate, Decider, Halt, Trigger
from relay_core.engines.base import Engine, Token
from relay_core.evaluate.answers import weights_of
from relay_core.evaluate.citer.references import Reference
from relay_core.evaluate.objections import asked
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem, Task, graded
from relay_core.events import TRUNCATED
from relay_core.keys import Role
from relay_core.relay import Relay
from relay_core.settings import RelaySettings

ABOVE = 0.5  # a rollout's router calls where the teacher is likelier preferred than the student


class _Begins(Decider):
    reads_tokens = True

    def __init__(self, is_call: bool, then: Decider) -> None:
        self._is_call, self._then, self._is_first = is_call, then, True

    def before_token(self, candidate: Candidate) -> int:
        is_first, self._is_first = self._is_first, False
        return int(self._is_call) if is_first else self._then.before_token(candidate)

    def halt(self, since_call: int | None) -> Halt | None:
        then = self._then.halt(since_call)
        if not self._is_first:
            return then
        is_call = self._is_call

        def halts(written: int, token: Token) -> bool:
            return is_call if written == 0 else then is not None and then(written, token)

        return halts


@dataclass(frozen=True, slots=True)
class Begins(Trigger):
    """The first token is the student's or the teacher's (``first``); behind it, the trigger ``then`` decides."""

    first: Role
    then: Trigger

    @property
    def command_bias(self) -> float:
        return self.then.command_bias

    @property
    def needed_head(self) -> str | None:
        return self.then.needed_head

    def decider(self, seed: int | None) -> Decider:
        return _Begins(self.first == "teacher", self.then.decider(seed))


class Rollouts:
    """Finishes the answers that begin with a part of a reference.

    Args:
        student, teacher: both engines.
        task: grades the answers.
        settings: ``max_tokens`` and the sampling.
        journal: where the results are kept.
        head: the router's, which decides about the tokens behind the first one; with ``None``, each model goes on
            alone.
    """

    def __init__(
        self, student: Engine, teacher: Engine, task: Task, settings: RelaySettings, journal: Journal, head: str | None
    ) -> None:
        self._task, self._journal, self._student = task, journal, student
        settings = replace(settings, student_instructions=None, max_calls=None, on_teacher_error="raise")
        alone = replace(settings, calls=False)
        if head is None:
            self._relays = {
                "student": Relay(student, None, alone),
                "teacher": Relay(teacher, None, replace(alone, **settings.teacher_sampling)),
            }
        else:
            self._relays = {
                first: Relay(
                    student, teacher, replace(settings, calls=True, trigger=Begins(first, Hidden(head, ABOVE)))
                )
                for first in ("student", "teacher")
            }
        self._policy = "alone" if head is None else f"{ABOVE}/{weights_of(head)}"
        self._kept = {row["key"]: bool(row["teacher"]) for row in journal.rows}

    async def prefers_teacher(self, problem: Problem, key: str, reference: Reference, place: int) -> bool | None:
        """Whether only the answer whose token at ``place`` is the teacher's is right.

        Args:
            key: the reference's (:meth:`References.key`).

        Returns:
            ``None`` if the text before ``place`` alone has other tokens, so that nothing can be said about the place.

        Raises:
            EngineError: an engine failed.
        """
        tokenizer = self._student.tokenizer
        assert tokenizer is not None
        text = tokenizer.decode(reference.ids[:place])
        if await encode_text_async(tokenizer, text) != [*reference.ids[:place]]:
            return None
        row_key = hashlib.sha256(json.dumps([key, place, self._policy]).encode()).hexdigest()[:32]
        if row_key not in self._kept:
            right = {first: await self._is_right(problem, text, relay) for first, relay in self._relays.items()}
            wins = right["teacher"] and not right["student"]
            self._journal.append({"key": row_key, "id": problem.id, "place": place, "right": right, "teacher": wins})
            self._kept[row_key] = wins
        return self._kept[row_key]

    async def _is_right(self, problem: Problem, text: str, relay: Relay) -> bool:
        messages, tools = asked(problem)
        result = await relay.agenerate(messages, tools=tools or None, prefix=text)
        return result.finish_reason not in TRUNCATED and bool(graded(self._task, text + result.text, problem))


def open_places(by_student: Sequence[bool], by_teacher: Sequence[bool]) -> list[int]:
    """The places at which neither model writes the reference's token."""
    return [i for i, either in enumerate(zip(by_student, by_teacher, strict=True)) if not any(either)]
