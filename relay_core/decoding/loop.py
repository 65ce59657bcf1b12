"""The decoding loop: the student's turn, the call, the result.

    student's engine streams -> scanner -> call? -> teacher's engine streams at most n tokens -> student again

Every step appends to the transcript and yields an event. One :class:`Answer` answers one prompt. Many answers run
concurrently, and the engines batch their requests, so that no answer waits for a turn of another answer. The other
modules of this folder implement the parts of a step. This module depends on no concrete engine.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from relay_core.constraint import Constraint
from relay_core.decoding.budget import Budget, student_sampling, teacher_sampling
from relay_core.decoding.command_bias import command_logit_bias
from relay_core.decoding.constrained import Hold
from relay_core.decoding.deadline import OutOfTime, deadline_in, earlier, within
from relay_core.decoding.engine_stream import engine_stream
from relay_core.decoding.prompts import Prompts
from relay_core.decoding.stop_strings import StopFilter, coalesce
from relay_core.decoding.student_text import PendingCall, StudentText
from relay_core.decoding.tally import Tally
from relay_core.decoding.triggers import no_top_logprob
from relay_core.decoding.warming import Opening, Warmer
from relay_core.engines.base import Chunk, Engine, Finish, Prompt, Sampling, Token, Warming
from relay_core.errors import ContextOverflow, EngineError, RelayError, TeacherUnavailable
from relay_core.events import CallEnded, CallStarted, Event, Finished, FinishReason, RelayResult, TextDelta
from relay_core.settings import RelaySettings
from relay_core.transcript import Author, Transcript


class Answer:
    """One answer: its steps, and the state that the steps share.

    Args:
        student: a started engine.
        teacher: the engine to call; without one, every call is refused.
        prompts: the prompts of both models, of which the student's is rendered; they hold the answer's transcript.
        settings: budgets, sampling, prices, and the trigger.
        deadline: the event loop's time at which the answer must end; ``None`` for no deadline.
        constraint: the constraint of the answer, which the student's engine has checked; ``None`` for free text.

    Raises:
        ConfigurationError: the trigger has a bias that the student's engine cannot apply.
    """

    def __init__(
        self,
        student: Engine,
        teacher: Engine | None,
        prompts: Prompts,
        settings: RelaySettings,
        deadline: float | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        self._began = time.monotonic()
        self._deadline = deadline
        self._student, self._teacher, self._settings = student, teacher, settings
        self._prompts = prompts
        self._transcript = prompts.transcript
        self._calls: list[CallEnded] = []
        self._tally = Tally(self._calls)
        self._hold = Hold(constraint, student, teacher)
        has_teacher = teacher is not None and self._hold.allows_calls
        self._budget = Budget(settings, self._transcript, self._calls, has_teacher=has_teacher)
        self._decider = settings.active_trigger.decider(settings.seed)
        self._command_bias = command_logit_bias(student, settings.active_trigger.command_bias)
        self._stops = StopFilter(settings.stop)
        self._text = StudentText(
            self._transcript, self._stops, self._decider, self._budget.allowance, self._tally,
            prompts.student_ends_in_character,
        )  # fmt: skip
        self._warmer = Warmer(self._begin_early, self._tally.waste)
        self._finish: FinishReason | None = None

    async def run(self) -> AsyncGenerator[Event, None]:
        """Yield the answer's events; the last event is :class:`Finished`.

        Raises:
            RelayError: the answer cannot be continued; ``transcript`` holds the answer so far.
        """
        try:
            while not self._is_over:
                async with aclosing(self._student_turn()) as deltas:
                    async for delta in deltas:
                        yield delta
                call = self._text.pop_call()
                if call is not None and not self._budget.allowance(call.tokens):
                    # the student's engine delivers text, and counts more tokens at its end than were counted here
                    self._tally.refused, call = self._tally.refused + 1, None
                if call is None:
                    await self._warmer.drop()
                elif not self._is_over:
                    async with aclosing(self._call(call)) as events:
                        async for event in events:
                            yield event
        except RelayError as error:
            if isinstance(error, EngineError):
                error.role = error.role or "student"
            error.transcript = self._transcript
            raise
        finally:
            await self._warmer.drop()
        cut_off = self._finish in (FinishReason.LENGTH, FinishReason.DEADLINE)
        for delta in self._text.flush(cut_off=cut_off):
            yield delta
        if self._stops.hit is not None:
            self._transcript.cut_reader_text(self._stops.kept)
            self._finish = FinishReason.STOP_STRING
        result, trigger = self._result(), self._settings.active_trigger
        if self._decider.reads_commands and self._teacher is not None and trigger.command_bias >= 0:
            usage = result.usage
            self._student.answer_ended(commands=usage.calls + usage.refused_calls + usage.malformed_calls)
        yield Finished(result)

    @property
    def _is_over(self) -> bool:
        return self._finish is not None or self._stops.hit is not None

    # -- the student's turn --------------------------------------------------------------------------------

    async def _student_turn(self) -> AsyncGenerator[TextDelta, None]:
        """The student writes until it calls, ends, or a budget is spent."""
        prompt = self._prompts.student(self._tally.turns)
        if not len(self._transcript):
            self._budget.check_fits(self._student, prompt)
        limit = self._budget.tokens_left(self._student, prompt)
        if limit <= 0:
            self._finish = FinishReason.LENGTH
            return
        self._tally.turns += 1
        sampling = self._student_sampling(limit)
        try:
            async with engine_stream(
                self._student.stream(prompt, sampling),
                role="student", prompt=prompt, limit=limit, deadline=self._deadline,
                transcript=self._transcript, tally=self._tally,
            ) as stream:  # fmt: skip
                while not self._is_over and not self._text.has_call:
                    chunk = await stream.next()
                    if sampling.top_logprob or sampling.head is not None:
                        self._check_reported(chunk.tokens)
                    deltas = self._text.append(chunk.tokens)
                    if self._warmer.command_at != self._text.open_command:
                        await self._warm()
                    for delta in deltas:
                        yield delta
                    if chunk.finish is not None:
                        if not self._is_over and not self._text.has_call:
                            self._end_turn(chunk, stream.token_count)
                        break
        except OutOfTime:
            self._finish = FinishReason.DEADLINE
        except ContextOverflow:
            if not len(self._transcript):
                raise
            self._finish = FinishReason.LENGTH

    def _student_sampling(self, limit: int) -> Sampling:
        """Begin a turn of at most ``limit`` tokens; returns its sampling."""
        may_call = self._budget.allowance(None) > 0
        self._text.begin_turn(may_call=may_call)
        return student_sampling(
            self._settings, limit, written=len(self._transcript),
            may_call=self._hold.stops_at_commands or (may_call and self._decider.reads_commands),
            top_logprob=may_call and self._settings.active_trigger.needs_top_logprob,
            head=self._settings.active_trigger.needed_head if may_call else None,
            logit_bias=self._command_bias if may_call else None,
            halt=self._decider.halt(self._text.since_call) if may_call else None,
            halt_after=self._text.least_before_call,
            **self._hold.student(self._transcript),
        )  # fmt: skip

    def _check_reported(self, tokens: Sequence[Token]) -> None:
        """Refuse a student whose first token does not have the probability that the trigger needs."""
        if len(self._transcript) or self._calls or not tokens or tokens[0].is_tool_call:
            return
        trigger = self._settings.active_trigger
        if trigger.needs_top_logprob and tokens[0].top_logprob is None:
            raise no_top_logprob(self._student, trigger)
        if trigger.needed_head is not None and tokens[0].head_probability is None:
            raise self._student.gives_no_hidden_state()

    def _end_turn(self, chunk: Chunk, token_count: int) -> None:
        """Handle the end of a student's stream that was not ended by a call.

        Args:
            chunk: the stream's last chunk.
            token_count: the number of tokens of the whole stream.
        """
        if chunk.finish is Finish.END and not self._text.opens_call_at_end(chunk.end_token):
            if chunk.end_token is not None and self._transcript.total < self._settings.max_tokens:
                self._transcript.add_student(chunk.end_token.id, chunk.end_token.text, chunk.end_token.logprob)
            self._finish = FinishReason.STOP
        elif chunk.finish is Finish.LENGTH:
            self._finish = FinishReason.LENGTH
        elif not token_count and chunk.finish is not Finish.END:
            # A stop at a closing tag that opened no call does not end the answer: the student gets another turn. But
            # after an empty turn, all further turns would be empty, too.
            raise EngineError("it stopped without writing anything", role="student")

    # -- the call ------------------------------------------------------------------------------------------

    async def _call(self, call: PendingCall) -> AsyncGenerator[Event, None]:
        """Make a call: the teacher writes at most ``call.tokens`` tokens."""
        assert self._teacher is not None
        yield CallStarted(call.tokens)
        began, first = time.monotonic(), len(self._transcript)
        deadline, is_loaded = self._deadline, False
        cause: Exception | None = None
        error: str | None = None
        self._transcript.begin_call()
        try:
            await within(self._teacher_engine.load(), deadline)  # not part of the time for the call
            is_loaded = True
            deadline = earlier(deadline, deadline_in(self._settings.teacher_timeout_s))
            async with aclosing(self._teacher_turn(call, deadline)) as deltas:
                async for delta in deltas:
                    yield delta
        except RelayError as failure:
            if not is_loaded:
                raise
            cause, error = failure, failure.message
        except OutOfTime as failure:
            cause = failure
            if deadline == self._deadline:
                error = "the answer's deadline passed"
                self._finish = FinishReason.DEADLINE
            else:
                error = self._timeout_error(received=len(self._transcript) - first)
        finally:
            await self._warmer.drop()
            self._transcript.end_call(
                shared=self._prompts.vocabulary_is_shared,
                encode=self._prompts.encode_for_student,
                has_ids=self._takes_over,
            )
        received = self._transcript.count(Author.TEACHER) - sum(earlier_call.received for earlier_call in self._calls)
        ended = CallEnded(call.requested, received, time.monotonic() - began, error, self._teacher.breaker)
        self._calls.append(ended)
        self._text.call_ended(received)
        if self._finish is not FinishReason.DEADLINE and self._settings.on_teacher_error == "continue":
            self._teacher.call_ended(error)
        yield ended
        if error is not None and self._finish is None and self._settings.on_teacher_error == "raise":
            raise TeacherUnavailable(error, transcript=self._transcript) from cause

    def _takes_over(self, ids: Sequence[int]) -> bool:
        """Whether the student's view takes the ids of a call unchanged.

        Under a constraint, a half character at their end is left out: the grammar continues the text, and knows whole
        characters only.
        """
        prompts = self._prompts
        return prompts.student_has_ids(ids) and not (self._hold.is_held and prompts.student_ends_in_character(ids))

    async def _teacher_turn(self, call: PendingCall, deadline: float | None) -> AsyncGenerator[TextDelta, None]:
        """Stream the teacher's tokens into the transcript, and yield their text."""
        prompt = await self._teacher_prompt(deadline)
        limit = min(call.tokens, self._budget.tokens_left(self._teacher_engine, prompt))
        chunks = await self._warmer.claim(prompt, limit)
        if chunks is None:
            sampling = self._teacher_sampling(prompt, limit)
            chunks = self._teacher_engine.stream(prompt, sampling)
        async with engine_stream(
            chunks,
            role="teacher", prompt=prompt, limit=limit, deadline=deadline,
            transcript=self._transcript, tally=self._tally,
        ) as stream:  # fmt: skip
            finish: Finish | None = None
            while finish is None and self._stops.hit is None:
                chunk = await stream.next()
                finish = chunk.finish
                for delta in self._append_teacher(chunk.tokens):
                    yield delta
        if finish is Finish.END and self._settings.on_teacher_stop == "finish":
            self._finish = FinishReason.TEACHER_STOP

    def _append_teacher(self, tokens: Sequence[Token]) -> list[TextDelta]:
        """Append the teacher's tokens up to a stop string; returns the text that the reader may see now."""
        deltas: list[TextDelta] = []
        for token in tokens:
            self._transcript.add_teacher(token.id, token.text, token.logprob)
            ids = () if token.id is None else (token.id,)
            show = self._stops.pass_by if token.is_tool_call else self._stops.feed
            deltas += show(TextDelta(Author.TEACHER, token.text, ids))
            if self._stops.hit is not None:
                break
        return coalesce(deltas)

    def _timeout_error(self, *, received: int) -> str:
        """The error of a call that reached ``teacher_timeout_s`` after ``received`` entries of the transcript."""
        reason = f"no complete answer within {self._settings.teacher_timeout_s} s"
        return reason if received else self._teacher_engine.timed_out(reason)

    async def _teacher_prompt(self, deadline: float | None, before: int | None = None) -> Prompt:
        """Start the teacher's engine; returns the prompt of the next call (see :meth:`Prompts.teacher`)."""
        await within(self._teacher_engine.start(), deadline)
        prompt = await within(self._prompts.teacher(len(self._calls), before), deadline)
        self._budget.check_fits(self._teacher_engine, prompt)
        return prompt

    def _teacher_sampling(self, prompt: Prompt, limit: int) -> Sampling:
        held_to = self._hold.teacher(prompt, self._prompts.prefix)
        return teacher_sampling(self._settings, limit, call=len(self._calls), **held_to)

    @property
    def _teacher_engine(self) -> Engine:
        assert self._teacher is not None
        return self._teacher

    # -- warming -------------------------------------------------------------------------------------------

    async def _warm(self) -> None:
        """Begin or drop the teacher's early stream, depending on the student's text."""
        if not self._is_over and not self._text.has_call:
            await self._warmer.follow(self._text.open_command, may_begin=self._may_warm)

    def _may_warm(self) -> bool:
        """Whether the settings, the teacher and the budgets allow an early stream now."""
        teacher, warming = self._teacher, self._settings.warming
        wanted = teacher is not None and teacher.warmable and (warming == "on" or (warming == "auto" and teacher.warms))
        return wanted and self._decider.reads_commands and self._budget.allowance(None) > 0

    async def _begin_early(self, command_at: int, warming: Warming) -> Opening:
        """The teacher's prompt and stream for a command that begins at the student's character ``command_at``."""
        most = self._budget.allowance(None)
        prompt = await self._teacher_prompt(self._deadline, before=command_at)
        limit = min(most, self._budget.tokens_left(self._teacher_engine, prompt))
        sampling = self._teacher_sampling(prompt, limit)
        return prompt, self._teacher_engine.warm_stream(prompt, sampling, warming)

    # -- the result ----------------------------------------------------------------------------------------

    def _limit_note(self) -> dict[str, str]:
        """A note for the result if ``max_calls`` calls were made and the trigger may have asked for more."""
        limit, refused = self._settings.max_calls, self._tally.refused
        if not limit or len(self._calls) < limit or not (refused or self._decider.reads_tokens):
            return {}
        more = f"{refused} more were refused" if refused else "the student wrote the rest"
        return {"max_calls": f"all {limit} calls that max_calls allows were made; {more}"}

    def _result(self) -> RelayResult:
        transcript = self._transcript
        assert self._finish is not None
        return RelayResult(
            text=transcript.reader_text,
            segments=transcript.segments,
            usage=self._tally.usage(transcript),
            finish_reason=self._finish,
            calls=self._calls,
            seconds=time.monotonic() - self._began,
            transcript=transcript,
            prices=self._settings.prices,
            notes={
                **self._prompts.notes,
                **self._tally.notes,
                **self._limit_note(),
                **self._hold.note(self._tally.refused),
            },
            breaker=None if self._teacher is None else self._teacher.breaker,
        )


def unanswered(settings: RelaySettings, seconds: float) -> RelayResult:
    """The empty answer, if by the deadline the student has not started or its prompt has not been rendered."""
    transcript = Transcript()
    return RelayResult(
        text="",
        segments=[],
        usage=Tally([]).usage(transcript),
        finish_reason=FinishReason.DEADLINE,
        calls=[],
        seconds=seconds,
        transcript=transcript,
        prices=settings.prices,
        notes={"student_start": "the student had not started by the deadline (deadline_s)"},
    )
