"""Answers that are written up to a place again, and go on otherwise from there.

A :class:`Draft` is an answer of the student in which calls were opened at chosen places. :func:`go_on` opens one more:
the ordinary loop runs with both models played back up to that place, so that prompts, seam and limits are those of
every other answer, and nothing that was sampled before is sampled again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from relay_core.decoding.triggers import Candidate, Decider, Trigger
from relay_core.engines.base import Chunk, Engine, Prompt, Sampling
from relay_core.engines.scripted import ScriptedEngine
from relay_core.engines.wrapped import Wrapped
from relay_core.evaluate.objections import asked
from relay_core.evaluate.task import Problem
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.transcript import Author


@dataclass(frozen=True, slots=True)
class Opened:
    """A call that was made.

    ``at``: the number of the student's tokens before it. ``ids``: the teacher's tokens, in its vocabulary. ``words``:
    the same text in the student's vocabulary.
    """

    at: int
    ids: tuple[int, ...]
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer with the calls that were opened in it; it holds no command.

    ``own``: the tokens that the student wrote, its end token included. ``calls``: in order, each followed by at least
    one token of the student unless the teacher ended the answer. ``ended``: whether the last of ``own`` is the end
    token. ``right``: whether the answer is right and was not cut off.
    """

    prompt_ids: tuple[int, ...]
    own: tuple[int, ...]
    calls: tuple[Opened, ...]
    text: str
    ended: bool
    right: bool = False

    def parts(self) -> Iterator[tuple[tuple[int, ...], Opened | None]]:
        """The student's tokens before each call, with the call; then those after the last one, with ``None``."""
        places = [0, *(call.at for call in self.calls), len(self.own)]
        for (begin, end), call in zip(pairwise(places), [*self.calls, None], strict=True):
            yield self.own[begin:end], call

    @property
    def teacher_tokens(self) -> int:
        """The tokens that the teacher wrote."""
        return sum(len(call.ids) for call in self.calls)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        calls = [{"at": call.at, "ids": list(call.ids), "words": list(call.words)} for call in self.calls]
        return {**asdict(self), "prompt_ids": list(self.prompt_ids), "own": list(self.own), "calls": calls}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Draft:
        """The inverse of :meth:`as_dict`."""
        calls = tuple(Opened(call["at"], tuple(call["ids"]), tuple(call["words"])) for call in values["calls"])
        plain = {**values, "prompt_ids": tuple(values["prompt_ids"]), "own": tuple(values["own"]), "calls": calls}
        return cls(**plain)


def draft_of(result: RelayResult, calls: int) -> Draft | None:
    """The answer as a draft.

    Args:
        result: an answer whose calls were opened by :class:`Planned`.
        calls: the number of calls that were planned.

    Returns:
        ``None`` if a planned call was not made, brought nothing, or failed, or if the student wrote a command.
    """
    row = result.transcript.training_row()
    own: list[int] = []
    words: dict[int, list[int]] = {}
    for token_id, author in zip(row.token_ids, row.authors, strict=True):
        (words.setdefault(len(own), []) if author is Author.TEACHER else own).append(token_id)
    written = [segment.token_ids for segment in result.segments if segment.author is Author.TEACHER]
    wrote_commands = result.usage.malformed_calls or result.usage.refused_calls
    if wrote_commands or result.failures or not len(result.calls) == len(written) == len(words) == calls:
        return None
    opened = tuple(Opened(at, ids, tuple(words[at])) for at, ids in zip(words, written, strict=True))
    ended = result.finish_reason is FinishReason.STOP
    return Draft(row.prompt_ids, tuple(own), opened, result.text, ended)


class _Follows(Decider):
    reads_tokens = True

    def __init__(self, plan: Sequence[tuple[int, int]]) -> None:
        self._plan, self._written = dict(plan), 0

    def before_token(self, candidate: Candidate) -> int:
        n = self._plan.pop(self._written, 0)
        self._written += not n
        return n


@dataclass(frozen=True, slots=True)
class Planned(Trigger):
    """Calls open at given places: each pair of ``plan`` is the number of the student's tokens before a call, and the
    number of tokens that it requests."""

    plan: tuple[tuple[int, int], ...] = ()

    def decider(self, seed: int | None) -> Decider:
        return _Follows(self.plan)

    def __str__(self) -> str:
        return f"planned:{self.plan}"


class PlayedBack(Wrapped):
    """Plays back the first turns of an answer; the engine ``inner`` writes the others.

    Args:
        inner: the engine.
        turns: the ids of each turn that is played back.
    """

    def __init__(self, inner: Engine, turns: Sequence[Sequence[int]]) -> None:
        super().__init__(inner)
        self._turns = [list(turn) for turn in turns]

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        if prompt.turn >= len(self._turns):
            return self.inner.stream(prompt, sampling)
        return self._unread(ScriptedEngine(self._turns, self.inner.tokenizer, chunk=64).stream(prompt, sampling))

    @staticmethod
    async def _unread(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """The chunks of a turn that is played back, for which no model reads the prompt."""
        async with aclosing(chunks):
            async for chunk in chunks:
                usage = chunk.usage
                yield chunk if usage is None else replace(chunk, usage=replace(usage, prompt_tokens=0))


async def go_on(
    student: Engine,
    teacher: Engine,
    problem: Problem,
    settings: RelaySettings,
    basis: Draft | None = None,
    opening: tuple[int, int] | None = None,
) -> RelayResult:
    """Answer a problem alone, or with one more call than before.

    Args:
        student, teacher: both engines; the teacher's must deliver ids.
        problem: the problem to answer.
        settings: the settings of the answer, its seed included; the trigger is replaced.
        basis: the answer before; ``None`` begins a new one, without calls.
        opening: the number of the student's tokens before the new call, and the tokens that it requests. A token of
            ``basis`` stands there. Calls of ``basis`` at or behind this place are left out.

    Raises:
        EngineError: an engine failed.
    """
    kept: list[Opened] = []
    own: tuple[int, ...] = ()
    plan: list[tuple[int, int]] = []
    if basis is not None and opening is not None:
        own = basis.own
        kept = [call for call in basis.calls if call.at < opening[0]]
        plan = [*((call.at, len(call.ids)) for call in kept), opening]
    # Each turn of the student is ended by the trigger, which is asked about the token behind the turn.
    turns = [own[begin:] for begin in (0, *(at for at, _ in plan[:-1]))] if plan else []
    relay = Relay(PlayedBack(student, turns), PlayedBack(teacher, [call.ids for call in kept]), settings)
    messages, tools = asked(problem)
    options = {"trigger": Planned(tuple(plan)), "calls": True, "on_teacher_error": "raise"}
    return await relay.agenerate(messages, tools=tools or None, **options)
