"""The reference answers of CITER: a right answer to each problem, and which model would write each of its tokens.

A reference ends in the student's end token, if its tokenizer names one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from relay_core.chat import Conversation, encode_text_async, render_async
from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError, ContextOverflow
from relay_core.evaluate.identity import identity
from relay_core.evaluate.objections import asked, objections, reader, scores_texts
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem, Task, graded
from relay_core.events import FinishReason
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.transcript import Author, TrainingRow


@dataclass(frozen=True, slots=True)
class Reference:
    """A right answer in the student's vocabulary.

    ``prompt_ids``: the student's prompt. ``ids``: the answer. ``has_end``: whether its last token is the end token.
    ``by_teacher``: whether the teacher's likeliest token is the reference's, shape [tokens]. ``left_out``: why there is
    no reference; it then has no tokens.
    """

    prompt_ids: Sequence[int] = ()
    ids: Sequence[int] = ()
    has_end: bool = False
    by_teacher: Sequence[bool] = ()
    left_out: str = ""


class References:
    """Finds references, and lets the teacher read them.

    Args:
        student, teacher: both engines. The student must be in this process; the teacher must score a given text.
        task: grades the answers.
        settings: ``max_tokens`` and the sampling of the teacher's own answers.
        journal: where the references are kept, so that a killed run goes on.

    Raises:
        ConfigurationError: an engine cannot do its part.
    """

    def __init__(self, student: Engine, teacher: Engine, task: Task, settings: RelaySettings, journal: Journal) -> None:
        reader(student, "student")
        if not scores_texts(teacher):
            reader(teacher, "teacher")
        self._student, self._teacher, self._task, self._journal = student, teacher, task, journal
        self._alone = Relay(teacher, None, replace(settings, calls=False, **settings.teacher_sampling))
        self._kept = {row["key"]: Reference(**row["reference"]) for row in journal.rows}

    def key(self, problem: Problem) -> str:
        """A digest of all that decides the reference of a problem."""
        s = self._alone.settings
        sampling = [s.max_tokens, s.temperature, s.top_p, s.top_k, s.seed, s.stop, s.enable_thinking]
        own = getattr(problem, "solution", None)
        decisive = [
            problem.id,
            *asked(problem),
            own,
            str(problem.answer),
            identity(self._student),
            identity(self._teacher),
        ]
        return hashlib.sha256(json.dumps([*decisive, sampling], sort_keys=True, default=str).encode()).hexdigest()[:32]

    async def to(self, problem: Problem) -> Reference:
        """The reference of a problem.

        Raises:
            EngineError: an engine failed.
        """
        key = self.key(problem)
        if key not in self._kept:
            try:
                reference = await self._found(problem)
            except ContextOverflow as error:
                reference = Reference(left_out=str(error))
            self._journal.append({"key": key, "id": problem.id, "reference": asdict(reference)})
            self._kept[key] = reference
        return self._kept[key]

    async def _found(self, problem: Problem) -> Reference:
        text = getattr(problem, "solution", None)
        if not isinstance(text, str) or not graded(self._task, text, problem):
            messages, tools = asked(problem)
            result = await self._alone.agenerate(messages, tools=tools or None)
            text = result.text
            if result.finish_reason is not FinishReason.STOP or not graded(self._task, text, problem):
                return Reference(left_out="the task has no right solution, nor has the teacher")
        return await self._read(problem, text)

    async def _read(self, problem: Problem, text: str) -> Reference:
        await self._student.start()
        await self._teacher.start()
        tokenizer = self._student.tokenizer
        assert tokenizer is not None
        messages, tools = asked(problem)
        thinking = self._alone.settings.enable_thinking
        conversation = Conversation.of(messages, tools=tools, enable_thinking=thinking)
        prompt_ids = (await render_async(tokenizer, conversation)).token_ids
        end = tokenizer.hf.eos_token_id
        ids = [*await encode_text_async(tokenizer, text), *([] if end is None else [int(end)])]
        row = TrainingRow(tuple(prompt_ids), tuple(ids), (0,) * len(ids), (), (Author.TEACHER,) * len(ids))
        nats = await objections(self._teacher, problem, tokenizer, row, ended=end is not None, enable_thinking=thinking)
        if nats is None:
            return Reference(left_out="the teacher's vocabulary spells the answer otherwise")
        return Reference(prompt_ids, ids, end is not None, [value <= 0 for value in nats])


async def by_student(student: Engine, reference: Reference) -> tuple[list[bool], Any]:
    """Whether the student's likeliest token is the reference's, for each token; and the student's reading.

    A model may have several end tokens; any of them is right at the end.
    """
    read = reader(student, "student").read
    reading = await read(reference.prompt_ids, reference.ids)
    matches = [bool(match) for match in reading.logprobs == reading.top_logprobs]
    if reference.has_end and not matches[-1] and len(reference.ids) > 1:
        matches[-1] = (await read(reference.prompt_ids, reference.ids[:-1])).end_gap <= 0
    return matches, reading


def unusable(task: Task, left_out: Sequence[str]) -> ConfigurationError:
    """The error of a task whose problems have too few references."""
    reasons = ", ".join(sorted(set(left_out))) or "there were no more problems"
    advice = "write --problems with more, or a task that the teacher solves"
    return ConfigurationError(f"{task.name} gives too few references ({reasons}): {advice}")
