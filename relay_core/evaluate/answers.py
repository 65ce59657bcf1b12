"""Answers of methods to prompts, kept in a journal: a run that was killed goes on where it stopped.

    answers = Answers(Journal(folder / "answers.jsonl"))
    kept = await answers.to(problem, method)        # from the journal, or from the models

An answer is taken from the journal if the prompt, both engines' specs and all settings but the prices are the same.
A prompt that does not fit into a model's context gets an answer without text (``too_long``), since it would fail again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from relay_core.errors import ContextOverflow, TeacherUnavailable
from relay_core.evaluate.comparison import Method
from relay_core.evaluate.doubts import Recording
from relay_core.evaluate.identity import identity
from relay_core.evaluate.measure import as_teacher
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem
from relay_core.settings import Prices, RelaySettings
from relay_core.usage import Usage

_NOT_IN_KEY = ("prices", "warming")  # settings that change no answer
_NOT_IN_KEY_IF_UNSET = ("teacher_top_p", "teacher_top_k")  # newer ones, so that older journals stay valid


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One answer.

    ``text``: the reader's text. ``usage``: its tokens and calls; all are the teacher's if it answered alone.
    ``seconds``: the time that the answer took. ``finish_reason``: why it ended. ``sureness``: if recorded, how
    sure the student was at each of its tokens (``doubts.py``). ``too_long``: why there is no answer.
    """

    text: str
    usage: Usage
    seconds: float
    finish_reason: str
    sureness: Sequence[float] = ()
    too_long: str | None = None

    def as_row(self) -> dict[str, Any]:
        """Plain values, from which :meth:`of_row` builds the answer again."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "usage": asdict(self.usage)}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> KeptAnswer:
        """The answer in a row of the journal."""
        values = {f.name: row[f.name] for f in fields(cls)}
        return cls(**{**values, "usage": Usage(**row["usage"])})


class Answers:
    """All answers so far, by prompt and method.

    Args:
        journal: where they are kept; ``None`` keeps them in memory only.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        rows = [] if journal is None else journal.rows
        self._kept = {row["key"]: KeptAnswer.of_row(row) for row in rows}

    def has(self, problem: Problem, method: Method, *, recording: Recording | None = None) -> bool:
        """Whether this answer is there already."""
        return _key(problem, method, recording) in self._kept

    def cost(self, prices: Prices) -> float:
        """The cost of all answers, those of earlier runs included, without caching."""
        return sum(kept.usage.cost(prices) for kept in self._kept.values())

    async def to(self, problem: Problem, method: Method, *, recording: Recording | None = None) -> KeptAnswer:
        """The method's answer to a prompt.

        Args:
            recording: records the sureness. The student then answers alone, whatever the method's trigger.

        Raises:
            EngineError: an engine failed.
        """
        key = _key(problem, method, recording)
        if key not in self._kept:
            answer = await _answered(problem, method, recording)
            if self._journal is not None:
                self._journal.append({"key": key, "id": problem.id, "method": method.label, **answer.as_row()})
            self._kept[key] = answer
        return self._kept[key]


async def _answered(problem: Problem, method: Method, recording: Recording | None) -> KeptAnswer:
    overrides: dict[str, Any] = {} if recording is None else {"trigger": recording}
    tools = getattr(problem, "tools", ()) or None
    try:
        result = await method.relay.agenerate(problem.messages, tools=tools, **overrides)
    except ContextOverflow as error:
        return KeptAnswer("", Usage(), 0.0, "", too_long=str(error))
    except TeacherUnavailable as error:
        if not isinstance(error.__cause__, ContextOverflow):
            raise
        return KeptAnswer("", Usage(), 0.0, "", too_long=str(error))
    usage = as_teacher(result.usage) if method.written_by == "teacher" else result.usage
    sureness = [] if recording is None else [round(value, 6) for value in recording.sureness]
    return KeptAnswer(result.text, usage, result.seconds, str(result.finish_reason), sureness)


def _key(problem: Problem, method: Method, recording: Recording | None) -> str:
    """A digest of all that decides an answer."""
    relay, recorded = method.relay, recording is not None
    settings = replace(relay.settings, trigger="never") if recorded else relay.settings  # type: ignore[arg-type]
    head = recording.head if recording is not None else settings.active_trigger.needed_head
    decisive = [
        problem.id,
        [dict(message) for message in problem.messages],
        [dict(tool) for tool in getattr(problem, "tools", ())],
        [method.written_by, *(None if e is None else identity(e) for e in (relay.student, relay.teacher)), recorded],
        settings_values(settings),
    ]
    if head is not None:
        decisive.append(weights_of(head))
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:32]


def settings_values(settings: RelaySettings) -> dict[str, str]:
    """The settings that decide an answer, as texts by name."""
    return {
        f.name: repr(value)
        for f in fields(settings)
        if f.name not in _NOT_IN_KEY
        and ((value := getattr(settings, f.name)) is not None or f.name not in _NOT_IN_KEY_IF_UNSET)
    }


def weights_of(head: str) -> str:
    """A digest of a head's weights: another head may have been fitted into the same folder."""
    from relay_core.engines.transformers.head import WEIGHTS

    path = Path(head).expanduser() / WEIGHTS
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
