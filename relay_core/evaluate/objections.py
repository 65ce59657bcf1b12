"""How unlikely the teacher finds each token of the student's own answers.

The student answers alone. The teacher reads the answer behind its own prompt in one forward pass. Its *objection* to a
token is how far the token's log-probability is below that of the teacher's likeliest token there, in nats. If the
vocabularies differ, the objection to a token of the teacher is added to that of the student's token which contains its
first character.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from relay_core.chat import Conversation, encode_text_async, render_async
from relay_core.engines.base import Engine
from relay_core.engines.scores import Scorer, Scores
from relay_core.errors import ConfigurationError, ContextOverflow
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem
from relay_core.events import FinishReason
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.tokenizer import Tokenizer
from relay_core.transcript import TrainingRow

if TYPE_CHECKING:
    from relay_core.engines.transformers.reading import Reading

_MOST = 100.0  # nats; a larger objection, such as an infinite one, is counted as this


@runtime_checkable
class Reads(Protocol):
    """An engine that can read a given text, as :class:`~relay_core.engines.transformers.TransformersEngine` can."""

    async def read(self, prompt_ids: Sequence[int], ids: Sequence[int], *, inputs: bool = True) -> Reading:
        """What the model makes of each of ``ids`` behind a prompt; ``inputs`` asks for those of a head, too."""


@dataclass(frozen=True, slots=True)
class Objections:
    """A student's answer, and the teacher's objection to each of its tokens.

    ``prompt_ids`` and ``ids`` are the student's, its end token included; ``nats`` has the length of ``ids``.
    ``left_out`` says why an answer cannot be used; it then has no tokens.
    """

    prompt_ids: Sequence[int] = ()
    ids: Sequence[int] = ()
    nats: Sequence[float] = ()
    left_out: str = ""


def reader(engine: Engine, role: str) -> Reads:
    """The engine as one that reads.

    Raises:
        ConfigurationError: it cannot.
    """
    if not isinstance(engine, Reads):
        raise ConfigurationError(
            f"to fit a head, both models read the student's answers, which {engine.spec} ({type(engine).__name__}) "
            f"cannot: write a {role} in this process on transformers (--{role} transformers:PATH), or tune the trigger "
            "uncertain, which needs no head (--trigger uncertain)"
        )
    return engine


class Objector:
    """Lets the student answer, and the teacher read.

    Args:
        student, teacher: both engines; both must read (:func:`reader`).
        settings: the student's sampling and ``max_tokens``.
        journal: where the objections are kept, so that a killed run goes on; ``None`` keeps nothing.
    """

    def __init__(self, student: Engine, teacher: Engine, settings: RelaySettings, journal: Journal | None) -> None:
        reader(student, "student")
        reader(teacher, "teacher")
        self._student, self._teacher = student, teacher
        self._settings = replace(settings, calls=False)
        self._journal = journal
        rows = [] if journal is None else journal.rows
        self._kept = {row["key"]: Objections(**row["objections"]) for row in rows}

    async def to(self, problem: Problem) -> Objections:
        """The teacher's objections to the student's answer.

        Raises:
            EngineError: an engine failed.
        """
        key = self.key(problem)
        if key not in self._kept:
            try:
                objections = await self._objections(problem)
            except ContextOverflow as error:
                objections = Objections(left_out=str(error))
            if self._journal is not None:
                self._journal.append({"key": key, "id": problem.id, "objections": asdict(objections)})
            self._kept[key] = objections
        return self._kept[key]

    def key(self, problem: Problem) -> str:
        """A digest of all that decides the objections to the answer to a problem."""
        s = self._settings
        sampling = [s.max_tokens, s.temperature, s.top_p, s.top_k, s.seed, s.stop, s.enable_thinking]
        decisive = [problem.id, *asked(problem), self._student.spec, self._teacher.spec, sampling]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:32]

    async def _objections(self, problem: Problem) -> Objections:
        messages, tools = asked(problem)
        result = await Relay(self._student, None, self._settings).agenerate(messages, tools=tools or None)
        row = result.transcript.training_row()
        await self._teacher.start()
        student = self._student.tokenizer
        assert student is not None
        text = "".join(texts_of(student, row.prompt_ids, row.token_ids))
        if not text:
            return Objections(left_out="the answer is empty")
        ended = result.finish_reason is FinishReason.STOP and bool(row.token_ids)
        thinking = self._settings.enable_thinking
        nats = await objections(self._teacher, problem, student, row, ended=ended, enable_thinking=thinking)
        if nats is None:
            return Objections(left_out="the teacher's vocabulary spells the answer otherwise")
        return Objections([*row.prompt_ids], [*row.token_ids], nats)


async def objections(
    teacher: Engine, problem: Problem, student: Tokenizer, row: TrainingRow, *, ended: bool, enable_thinking: bool
) -> list[float] | None:
    """The teacher's objection to each token of an answer.

    Args:
        teacher: a started engine that scores a text (:func:`scores_texts`).
        problem: the problem that is answered.
        student: the student's tokenizer.
        row: the answer in the student's vocabulary, with the teacher's words if there are any; it holds no command.
        ended: whether the last token of ``row`` is the student's end token.
        enable_thinking: as in the settings of the answer.

    Returns:
        One value in nats for each of ``row.token_ids``, at most 100; ``None`` if the answer is empty, or if the
        teacher's vocabulary does not spell its text.

    Raises:
        ContextOverflow: the answer is longer than the teacher's context.
        EngineError: the teacher failed.
    """
    tokenizer = teacher.tokenizer
    assert tokenizer is not None
    messages, tools = asked(problem)
    conversation = Conversation.of(messages, tools=tools, enable_thinking=enable_thinking)
    texts = texts_of(student, row.prompt_ids, row.token_ids)
    prompt_ids = (await render_async(tokenizer, conversation)).token_ids
    ids = await encode_text_async(tokenizer, "".join(texts))
    if not ids:
        return None
    read = await scores(teacher, prompt_ids, ids)
    values = [top - own for top, own in zip(read.top_logprobs, read.logprobs, strict=True)]
    nats = aligned(texts, texts_of(tokenizer, prompt_ids, ids), values)
    if nats is None:
        return None
    if ended:
        nats[-1] += read.end_gap
    return [round(min(_MOST, value), 4) for value in nats]


def scores_texts(engine: Engine) -> bool:
    """Whether the engine can score a text that is given. An endpoint's server may turn out not to."""
    return isinstance(engine, Reads | Scorer)


async def scores(engine: Engine, prompt_ids: Sequence[int], ids: Sequence[int]) -> Scores:
    """What the model makes of each of ``ids`` behind a prompt, by an engine that scores a text."""
    if isinstance(engine, Scorer):
        return await engine.scores(prompt_ids, ids)
    assert isinstance(engine, Reads)
    reading = await engine.read(prompt_ids, ids, inputs=False)
    return Scores(reading.logprobs.tolist(), reading.top_logprobs.tolist(), reading.end_gap)


def aligned(texts: Sequence[str], others: Sequence[str], values: Sequence[float]) -> list[float] | None:
    """Add up values of another vocabulary's tokens for each token.

    Args:
        texts: what each token adds to the text; a token in the middle of a character adds nothing.
        others: the same of the other vocabulary's tokens.
        values: one of each of ``others``.

    Returns:
        One sum for each of ``texts``; ``None`` if the two texts differ.
    """
    if "".join(texts) != "".join(others):
        return None
    owners: list[int] = []  # of each character, the token in which it begins
    begun: int | None = None
    for i, text in enumerate(texts):
        begun = i if begun is None else begun
        if text:
            owners += [begun, *[i] * (len(text) - 1)]
            begun = None
    sums, place = [0.0] * len(texts), 0
    for text, value in zip(others, values, strict=True):
        if place < len(owners):
            sums[owners[place]] += value
        place += len(text)
    return sums


def texts_of(tokenizer: Tokenizer, context: Sequence[int], ids: Sequence[int]) -> list[str]:
    """What each of ``ids`` behind ``context`` adds to the text."""
    decoder = tokenizer.decoder(context)
    return [decoder.step(i) for i in ids]


def asked(problem: Problem) -> tuple[Sequence[Any], list[Any]]:
    """The messages and the tools of a problem."""
    return [dict(message) for message in problem.messages], [dict(tool) for tool in getattr(problem, "tools", ())]
