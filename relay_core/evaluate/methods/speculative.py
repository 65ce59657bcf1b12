"""``speculative:N``: the teacher alone, with the student as its draft (``engines/transformers/assisted.py``).

The draft writes at most N tokens before the teacher reads them, by default 5. With a larger N, the teacher reads more
tokens that it refuses, which costs more; what is faster depends on the models and the machine.

The answers are the teacher's own, so this is the rival that costs no accuracy. Its usage counts

    teacher_tokens     the tokens of the answer
    wasted_tokens      the tokens of the draft that the teacher read and refused
    discarded_tokens   all tokens that the draft wrote, also those that the teacher kept

so that the cost charges every place that the teacher verified at its output price, and every token of the draft at the
student's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from relay_core.chat import Conversation, render_async
from relay_core.decoding.stop_strings import StopFilter
from relay_core.engines.base import Engine
from relay_core.engines.sampling import Sampling
from relay_core.engines.transformers import TransformersEngine
from relay_core.errors import ConfigurationError, EngineError
from relay_core.evaluate.identity import identity
from relay_core.evaluate.methods.base import Method, Models, Question
from relay_core.evaluate.outcome import Outcome, Part, too_long
from relay_core.events import FinishReason, TextDelta
from relay_core.settings import RelaySettings
from relay_core.tokenizer import Tokenizer
from relay_core.transcript import Author
from relay_core.usage import Usage

if TYPE_CHECKING:
    from relay_core.engines.transformers.assisted import Assisted, Pair


AHEAD = 5  # tokens of the draft, if no number is given


class Speculative(Method):
    """The teacher with a draft. It writes one answer at a time, in a thread of its own.

    Args:
        settings: the teacher's: sampling, ``max_tokens``, ``stop``, ``deadline_s``.
        ahead: how many tokens the draft writes before the teacher reads them, at most.
    """

    curve = "speculative"

    def __init__(
        self, spec: str, teacher: TransformersEngine, draft: TransformersEngine, settings: RelaySettings, ahead: int
    ) -> None:
        self.spec, self._teacher, self._draft, self._settings, self._ahead = spec, teacher, draft, settings, ahead
        self.label = f"speculative {ahead}"
        self._thread = ThreadPoolExecutor(1, "speculative")
        self._pair: Pair | None = None

    @property
    def models(self) -> Sequence[Engine]:
        return [self._draft, self._teacher]

    def decisive(self, question: Question) -> Any:
        from relay_core.evaluate.answers import settings_values

        models = [identity(engine) for engine in self.models]
        return ["speculative", models, settings_values(self._merged(question)), self._ahead]

    def _merged(self, question: Question) -> RelaySettings:
        return self._settings.merged({**question.settings, "seed": question.seed})

    async def answer(self, question: Question, by_source: Mapping[str, Outcome]) -> Outcome:
        settings, problem = self._merged(question), question.problem
        pair = await self._started()
        tools = getattr(problem, "tools", ()) or None
        conversation = Conversation.of(problem.messages, tools=tools, enable_thinking=settings.enable_thinking)
        prompt_ids = (await render_async(self._teacher.tokenizer, conversation)).token_ids
        limit = settings.max_tokens if pair.context is None else pair.context - len(prompt_ids)
        if limit <= 0:
            return too_long()
        turn = _Turn(self._teacher.tokenizer, prompt_ids, pair.end_ids, settings)
        sampling = Sampling(
            min(limit, settings.max_tokens), settings.temperature, settings.top_p, settings.top_k, settings.seed
        )
        assisted = await self._written(pair, prompt_ids, sampling, turn)
        return turn.outcome(assisted, len(prompt_ids))

    async def _started(self) -> Pair:
        from relay_core.engines.transformers.assisted import Pair

        teacher, draft = await self._teacher.plain(), await self._draft.plain()
        if self._pair is None or not self._pair.is_of(teacher, draft):
            self._pair = Pair(teacher, draft, ahead=self._ahead)
        return self._pair

    async def _written(self, pair: Pair, prompt_ids: Sequence[int], sampling: Sampling, turn: _Turn) -> Assisted:
        """Write in the thread. If this is cancelled, the thread stops after the teacher's current pass."""

        def write() -> Assisted:
            turn.begin()
            return pair.write(prompt_ids, sampling, turn.is_over)

        future = asyncio.get_running_loop().run_in_executor(self._thread, write)
        try:
            return await asyncio.shield(future)
        except EngineError as error:
            error.role = "teacher"
            raise
        except asyncio.CancelledError:
            turn.is_cancelled.set()
            if not future.cancel():
                await asyncio.wait([future])
            raise


class _Turn:
    """One answer while it is written, on the thread: its text, and why it ends.

    Args:
        tokenizer: the teacher's.
        end_ids: the teacher's end tokens.
        settings: ``stop`` and ``deadline_s``.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt_ids: Sequence[int], end_ids: frozenset[int], settings: RelaySettings
    ) -> None:
        self.is_cancelled = threading.Event()
        self._decoder, self._end_ids, self._settings = tokenizer.decoder(prompt_ids), end_ids, settings
        self._stops = StopFilter(settings.stop)
        self._deltas: list[TextDelta] = []
        self._count = 0  # tokens of the answer
        self._finish: FinishReason | None = None
        self._began = time.monotonic()

    def begin(self) -> None:
        """Start the clock: answers wait for each other, which is not counted."""
        self._began = time.monotonic()

    def is_over(self, ids: Sequence[int]) -> bool:
        """Take the new ones among all ids of the answer so far; returns whether the answer ends with one of them."""
        for token_id in ids[self._count :]:
            if self._finish is None:
                self._add(token_id)
        deadline_s = self._settings.deadline_s
        if self._finish is None and deadline_s is not None and time.monotonic() - self._began > deadline_s:
            self._finish = FinishReason.DEADLINE
        return self._finish is not None or self.is_cancelled.is_set()

    def _add(self, token_id: int) -> None:
        self._count += 1
        if token_id in self._end_ids:
            self._finish = FinishReason.STOP
            return
        self._deltas += self._stops.feed(TextDelta(Author.TEACHER, self._decoder.step(token_id)))
        if self._stops.hit is not None:
            self._finish = FinishReason.STOP_STRING

    def outcome(self, assisted: Assisted, prompt_tokens: int) -> Outcome:
        """The complete answer."""
        text = "".join(delta.text for delta in [*self._deltas, *self._stops.flush()])
        return Outcome(
            text=text,
            usage=Usage(
                prompt_tokens=prompt_tokens,
                teacher_tokens=self._count,
                teacher_prompt_tokens=prompt_tokens,
                teacher_cached_tokens=0,
                student_prompt_tokens=assisted.draft_prompt,
                student_cached_tokens=0,
                discarded_tokens=assisted.drafted,
                wasted_tokens=assisted.verified - self._count,
            ),
            finish_reason=str(self._finish or FinishReason.LENGTH),
            seconds=time.monotonic() - self._began,
            parts=[Part("teacher", text, self._count)],
        )


def build(spec: str, arguments: str, models: Models) -> Method:
    """``speculative:5`` has one argument, the draft's number of tokens; the draft is the untrained student."""
    number = arguments or str(AHEAD)
    if not number.isdecimal() or int(number) < 1:
        raise ConfigurationError(f"the method {spec!r}: write the draft's number of tokens, such as speculative:5")
    engines: list[TransformersEngine] = []
    for role, engine in (("teacher", models.teacher), ("student", models.base)):
        if not isinstance(engine, TransformersEngine):
            raise ConfigurationError(
                "the method speculative needs both models in this process on transformers (transformers:PATH), and the "
                f"{role} is {engine.spec}: measure a served teacher as the method teacher, with its server's own "
                'speculative decoding, such as vllm serve TEACHER --speculative-config \'{"model": "STUDENT", ...}\''
            )
        engines.append(engine)
    settings = models.alone(models.teacher, written_by="teacher").settings
    return Speculative(spec, engines[0], engines[1], settings, int(number))
