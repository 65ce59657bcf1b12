import asyncio
import logging
from pathlib import Path

import pytest

from relay_core import (
    Author,
    CallEnded,
    CallStarted,
    ConfigurationError,
    ContextOverflow,
    Engine,
    EngineError,
    Finish,
    Finished,
    FinishReason,
    Prices,
    Relay,
    RelayResult,
    RelaySettings,
    ScriptedEngine,
    TeacherUnavailable,
    TextDelta,
)
from relay_core.engines.base import BreakerState, Chunk, EngineUsage, Token
from relay_core.engines.scripted import Delay
from relay_core.tokenizer import Tokenizer

CONTINUE = {"on_teacher_stop": "continue"}


class Says(Engine):
    """Delivers these chunks, a list for every request, whatever it is asked."""

    def __init__(self, tokenizer: Tokenizer | None, *turns: list[Chunk | BaseException]) -> None:
        self._tokenizer, self._turns = tokenizer, turns
        self.speaks_ids = tokenizer is not None

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._tokenizer

    async def stream(self, prompt, sampling):
        for chunk in self._turns[prompt.turn]:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk


def text_chunk(*texts: str, finish: Finish | None = None, usage: EngineUsage | None = None) -> Chunk:
    return Chunk(tuple(Token(None, t) for t in texts), finish, None, usage)


async def answer(student, teacher=None, prompt="Q", *, tokenizer=None, **options) -> RelayResult:
    """One answer; strings and lists are scripts over ``tokenizer``."""
    engines = [e if e is None or isinstance(e, Engine) else ScriptedEngine(e, tokenizer) for e in (student, teacher)]
    return await Relay(*engines).agenerate(prompt, **options)


def parts(result: RelayResult) -> list[tuple[str, str]]:
    return [(str(s.author), s.text) for s in result.segments]


# -- one answer, told whole ------------------------------------------------------------------------------------


async def test_the_events_of_an_answer(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["47 * 6 = <call> 3 </call>\n\n", "Done."], qwen3)
    events = [e async for e in Relay(student, ScriptedEngine("282 and", qwen3)).astream("47 * 6?", **CONTINUE)]
    shown = [e for e in events if isinstance(e, TextDelta)]
    assert "".join(e.text for e in shown) == "47 * 6 = \n\n282Done."
    kinds = [type(e) for e in events if not isinstance(e, TextDelta)]
    assert kinds == [CallStarted, CallEnded, Finished]
    assert next(e for e in events if isinstance(e, CallStarted)).n == 3
    ended = next(e for e in events if isinstance(e, CallEnded))
    assert (ended.requested, ended.received, ended.error) == (3, 3, None)
    result = events[-1].result
    assert isinstance(events[-1], Finished)
    assert parts(result) == [
        ("student", "47 * 6 = "),
        ("command", "<call> 3 </call>"),
        ("student", "\n\n"),
        ("teacher", "282"),
        ("student", "Done."),
    ]
    assert result.text == "47 * 6 = \n\n282Done."
    assert (result.finish_reason, result.calls) == (FinishReason.STOP, [ended])
    visible = [i for s in result.segments if s.author != "command" for i in s.token_ids]
    end = [qwen3.hf.eos_token_id]
    assert [i for e in shown for i in e.token_ids] + end == visible, "ids come with the text that they complete"
    assert result.usage.student_tokens == len(result.segments[0].token_ids) + len(qwen3.encode("Done.")) + 1


@pytest.mark.parametrize(
    ("on_teacher_stop", "text", "reason"),
    [("finish", "a 7", FinishReason.TEACHER_STOP), ("continue", "a 7 b", FinishReason.STOP)],
)
async def test_the_teachers_end_token(qwen3: Tokenizer, on_teacher_stop: str, text: str, reason: FinishReason) -> None:
    result = await answer(["a<call>9</call>", " b"], " 7", tokenizer=qwen3, on_teacher_stop=on_teacher_stop)
    assert (result.text, result.finish_reason) == (text, reason)
    assert result.calls[0].received == 2


async def test_a_teacher_cut_at_its_limit_gives_control_back(qwen3: Tokenizer) -> None:
    result = await answer(["a<call>2</call>", " b"], " 7 8 9", tokenizer=qwen3)
    assert (result.text, result.finish_reason) == ("a 7 b", FinishReason.STOP)


async def test_a_teacher_that_writes_nothing(qwen3: Tokenizer) -> None:
    result = await answer(["a<call>2</call>", " b"], "", tokenizer=qwen3, **CONTINUE)
    assert (result.text, result.usage.calls, result.usage.failed_calls) == ("a b", 1, 0)
    assert result.calls[0].received == 0
    assert (await answer(["a<call>2</call>", " b"], "", tokenizer=qwen3)).finish_reason == FinishReason.TEACHER_STOP


async def test_a_teacher_that_delivers_more_than_requested(qwen3: Tokenizer) -> None:
    ids = qwen3.encode("1 2 3 4 5")
    teacher = Says(qwen3, [Chunk([Token(i, qwen3.decode([i])) for i in ids], Finish.END)])
    result = await answer(ScriptedEngine(["a <call>2</call>", "b"], qwen3), teacher)
    assert (result.text, result.usage.teacher_tokens, result.finish_reason) == ("a 1 b", 2, FinishReason.STOP)


async def test_a_student_that_delivers_more_than_requested(qwen3: Tokenizer) -> None:
    ids = qwen3.encode("1 2 3 4 5")
    end = Token(qwen3.hf.eos_token_id, "")
    student = Says(qwen3, [Chunk([Token(i, qwen3.decode([i])) for i in ids], Finish.END, end)])
    result = await answer(student, max_tokens=2)
    assert (result.text, result.finish_reason, result.usage.student_tokens) == ("1 ", FinishReason.LENGTH, 2)
    result = await answer(student, max_tokens=len(ids))
    assert (result.finish_reason, result.usage.student_tokens) == (FinishReason.STOP, len(ids))


# -- commands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "text", "refused", "malformed"),
    [
        ("a<call>0</call>b", "ab", 1, 0),
        ("a<call>abc</call>b", "ab", 0, 1),
        ("a<call>-3</call>b<call></call>", "ab", 0, 2),
        ("a<call>1000000000</call>b", "ab", 0, 1),
        ("a<call>b", "a<call>b", 0, 0),
        ("a<call>" + "x" * 33 + "</call>b", "a<call>" + "x" * 33 + "b", 0, 1),
        ("a</call>b", "ab", 0, 1),
        ("takes the<call>8</>", "takes the", 0, 1),
        ("takes the<call>8</> time that it takes, and no more than that, I think", None, 0, 1),
        ("1<call>8</", "1", 0, 1),
        ("a<call>12", "a", 0, 1),
        ("a<call>", "a", 0, 1),
        ("a<ca", "a<ca", 0, 0),
    ],
)
async def test_text_that_opens_no_call(
    qwen3: Tokenizer, said: str, text: str | None, refused: int, malformed: int
) -> None:
    text = said.replace("<call>8</>", "") if text is None else text
    start, ids = len((await answer("", tokenizer=qwen3)).transcript.prompt_ids), qwen3.encode(said)
    for honour_stop in (False, True):  # an engine that stops at every closing tag is asked again
        student = ScriptedEngine(lambda p: ids[len(p.token_ids) - start :], qwen3, honour_stop=honour_stop, record=True)
        teacher = ScriptedEngine("never", qwen3, record=True)
        result = await answer(student, teacher)
        assert (result.text, result.finish_reason) == (text, FinishReason.STOP)
        assert (result.usage.calls, result.usage.refused_calls) == (0, refused)
        assert (result.usage.malformed_calls, teacher.requests) == (malformed, [])
        assert result.transcript.student_text == said
        assert len(student.requests) == 1 + (honour_stop and said.count("</call>"))


async def test_one_token_makes_one_call(tiny: Tokenizer) -> None:
    both = Token(7, "a<call>1</call>b<call>2</call>c<ca")
    student = Says(tiny, [Chunk([both])], [Chunk([Token(8, "ll>3</call>")], Finish.END)])
    result = await answer(student, ScriptedEngine("xyz", tiny))
    assert result.text == "abc<ca" + tiny.decode(tiny.encode("xyz")[:1]) + "ll>3", "the closing tag closes nothing"
    assert (result.usage.calls, result.usage.refused_calls) == (1, 1)
    assert (result.usage.command_tokens, result.usage.malformed_calls) == (2, 1)


async def test_the_student_stops_at_the_closing_tag_only_if_a_call_may_open(qwen3: Tokenizer) -> None:
    async def stops(teacher="x", **options) -> list[tuple[str, ...]]:
        student = ScriptedEngine(["<call>1</call>", "<call>1</call>b"], qwen3, record=True)
        await answer(student, None if teacher is None else ScriptedEngine(teacher, qwen3), **CONTINUE, **options)
        return [sampling.stop for _, sampling in student.requests]

    assert await stops() == [("</call>",)] * 3
    assert await stops(max_calls=1) == [("</call>",), ()]
    assert await stops(max_teacher_tokens=1) == [("</call>",), ()]
    assert await stops(calls=False) == [()]
    assert await stops(teacher=None) == [()]


async def test_teacher_free_inference_counts_refused_commands(qwen3: Tokenizer) -> None:
    student, teacher = ["a<call>3</call>b<call>4</call>c"], ScriptedEngine("x", qwen3, record=True)
    for options in ({"calls": False}, {"max_calls": 0}, {"max_teacher_tokens": 0}):
        result = await answer(student, teacher, tokenizer=qwen3, **options)
        assert (result.text, result.usage.refused_calls, teacher.requests) == ("abc", 2, [])
        assert (result.usage.teacher_tokens, result.usage.teacher_cached_tokens) == (0, 0)
    assert (await answer(student, None, tokenizer=qwen3)).usage.refused_calls == 2


# -- budgets ---------------------------------------------------------------------------------------------------


async def test_max_tokens_reached_exactly_by_a_command(qwen3: Tokenizer) -> None:
    command = len(qwen3.encode("<call>3</call>"))
    result = await answer(["<call>3</call>", "b"], "x", tokenizer=qwen3, max_tokens=command)
    assert (result.finish_reason, result.text, result.usage.refused_calls) == (FinishReason.LENGTH, "", 1)
    result = await answer(["<call>3</call>", "b"], "x y z", tokenizer=qwen3, max_tokens=command + 2)
    assert (result.finish_reason, result.text, result.calls[0].received) == (FinishReason.LENGTH, "x y", 2)


async def test_budgets_of_tokens_per_call_and_per_answer(qwen3: Tokenizer) -> None:
    turns = ["<call>9</call>"] * 4 + ["end"]
    result = await answer(turns, "1 2 3 4", tokenizer=qwen3, max_call_tokens=3, max_teacher_tokens=5)
    assert [c.received for c in result.calls] == [3, 2]
    assert [c.requested for c in result.calls] == [9, 9]
    assert (result.usage.teacher_tokens, result.usage.refused_calls) == (5, 1)
    result = await answer(turns, "1 2 3 4", tokenizer=qwen3, max_calls=1, max_call_tokens=1)
    assert (result.usage.calls, result.usage.teacher_tokens, result.usage.refused_calls) == (1, 1, 1)


async def test_a_budget_limits_a_text_only_teacher(qwen3: Tokenizer) -> None:
    teacher = ScriptedEngine("0123456789", None, chunk=4, record=True)
    result = await answer(ScriptedEngine(["a<call>9</call>", "b"], qwen3), teacher, max_call_tokens=6)
    assert (result.text, result.usage.teacher_tokens, result.calls[0].received) == ("a012345b", 6, 6)
    assert teacher.requests[0][1].max_tokens == 6


def test_the_deadline_ends_a_student_and_keeps_what_it_wrote(qwen3: Tokenizer, timeless) -> None:
    result = timeless(answer([["a b", Delay(3600), "c"]], tokenizer=qwen3, deadline_s=0.2))
    assert (result.text, result.finish_reason) == ("a b", FinishReason.DEADLINE)


def test_the_deadline_ends_a_teacher_and_keeps_what_it_wrote(qwen3: Tokenizer, timeless) -> None:
    for on_teacher_error in ("continue", "raise"):
        result = timeless(answer(
            ["a<call>9</call>", "never"], [["x y", Delay(3600)]], tokenizer=qwen3,
            deadline_s=0.2, teacher_timeout_s=3000, on_teacher_error=on_teacher_error,
        ))  # fmt: skip
        assert (result.text, result.finish_reason) == ("ax y", FinishReason.DEADLINE)
        assert (result.usage.failed_calls, result.calls[0].received) == (1, 2)
        assert "deadline" in result.failures[0]


async def test_the_deadline_holds_for_an_engine_that_never_waits(qwen3: Tokenizer) -> None:
    class Busy(Says):
        async def stream(self, prompt, sampling):
            while True:
                yield text_chunk("a")

    result = await answer(Busy(None), deadline_s=0.05, max_tokens=10**9)
    assert result.finish_reason is FinishReason.DEADLINE


def test_a_teachers_timeout_leaves_what_it_wrote(qwen3: Tokenizer, timeless) -> None:
    options = {"tokenizer": qwen3, "teacher_timeout_s": 0.1}
    student, teacher = ["a<call>9</call>", " b"], [["x y", Delay(3600)]]
    result = timeless(answer(student, teacher, **options))
    assert (result.text, result.finish_reason, result.usage.failed_calls) == ("ax y b", FinishReason.STOP, 1)
    assert result.failures == ["no complete answer within 0.1 s"]
    with pytest.raises(TeacherUnavailable, match=r"0\.1 s") as caught:
        timeless(answer(student, teacher, **options, on_teacher_error="raise"))
    assert caught.value.transcript.reader_text == "ax y"


def test_a_slow_start_of_the_teacher_counts_against_its_timeout(qwen3: Tokenizer, timeless) -> None:
    class Slow(ScriptedEngine):
        async def start(self) -> None:
            await asyncio.sleep(3600)

    result = timeless(answer(["a<call>9</call>", " b"], Slow("x", qwen3), tokenizer=qwen3, teacher_timeout_s=0.05))
    assert (result.text, result.usage.failed_calls, result.usage.teacher_prompt_tokens) == ("a b", 1, 0)


async def test_an_engines_own_timeout_error_is_not_taken_for_the_deadline(qwen3: Tokenizer) -> None:
    with pytest.raises(TimeoutError, match="its own"):
        await answer([[TimeoutError("its own")]], tokenizer=qwen3, deadline_s=3000)


def test_the_deadline_counts_the_students_start(qwen3: Tokenizer, timeless) -> None:
    class Slow(ScriptedEngine):
        async def start(self) -> None:
            await asyncio.sleep(14)

    async def timed() -> tuple[RelayResult, float]:
        result = await answer(Slow("a", qwen3), None, deadline_s=1)
        return result, asyncio.get_running_loop().time()

    result, seconds = timeless(timed())
    assert seconds == pytest.approx(1)
    assert (result.text, result.finish_reason) == ("", FinishReason.DEADLINE)
    assert "had not started" in result.notes["student_start"]
    assert timeless(answer(Slow("a b", qwen3), None, deadline_s=20)).text == "a b"


async def test_a_student_that_never_stops_calling_is_stopped_with_a_note(qwen3: Tokenizer) -> None:
    student, teacher = ["a<call>1</call>"] * 40 + ["end"], "x"
    result = await answer(student, teacher, tokenizer=qwen3, **CONTINUE)
    assert result.usage.calls == RelaySettings().max_calls == 16
    assert result.usage.refused_calls > 0
    assert "all 16 calls" in result.notes["max_calls"]
    unlimited = await answer(student, teacher, tokenizer=qwen3, **CONTINUE, max_calls=None)
    assert (unlimited.usage.calls, unlimited.notes) == (40, {})
    refused = await answer(student, teacher, tokenizer=qwen3, **CONTINUE, calls=False)
    assert refused.notes == {}


# -- failures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [EngineError("broken"), ConfigurationError("broken"), ContextOverflow("broken")])
async def test_a_teacher_that_fails(qwen3: Tokenizer, error: Exception) -> None:
    student, teacher = ["a<call>9</call>", " b<call>9</call>", " c"], [["x y", error], "z"]
    result = await answer(student, teacher, tokenizer=qwen3, **CONTINUE)
    assert (result.text, result.finish_reason) == ("ax y bz c", FinishReason.STOP)
    assert (result.usage.calls, result.usage.failed_calls, result.failures) == (2, 1, ["broken"])
    with pytest.raises(TeacherUnavailable, match="teacher: broken") as caught:
        await answer(student, teacher, tokenizer=qwen3, on_teacher_error="raise")
    assert caught.value.__cause__ is error
    assert caught.value.transcript.reader_text == "ax y"
    assert caught.value.role == "teacher"


async def test_a_teacher_that_begins_to_fail_is_logged_once(qwen3: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    student = ScriptedEngine(["a<call>9</call>", "b"], qwen3)
    teacher = ScriptedEngine([[EngineError("broken")]], qwen3)
    relay = Relay(student, teacher)
    caplog.set_level(logging.INFO, "relay_core")
    for _ in range(3):
        await relay.agenerate("q")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]
    assert "a call to the teacher failed" in caplog.text
    assert "scripted: broken" in caplog.text
    caplog.clear()
    for turns in ("x", [[EngineError("broken")]]):
        teacher.script = turns
        await relay.agenerate("q")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(TeacherUnavailable):
        await relay.agenerate("q", on_teacher_error="raise")
    assert len(caplog.records) == 1  # who is told by an error needs no log


async def test_a_teacher_whose_stream_ends_without_a_finish(qwen3: Tokenizer) -> None:
    teacher = Says(None, [text_chunk("x")])
    result = await answer(ScriptedEngine(["a<call>9</call>", "b"], qwen3), teacher)
    assert (result.text, result.usage.failed_calls) == ("axb", 1)
    assert "without saying why" in result.failures[0]


async def test_a_teacher_without_a_template(qwen3: Tokenizer, tiny: Tokenizer) -> None:
    import copy

    bare = Tokenizer(copy.copy(tiny.hf), "bare")
    bare.hf.chat_template = None
    result = await answer(ScriptedEngine(["a<call>9</call>", "b"], qwen3), ScriptedEngine("x", bare))
    assert (result.text, result.usage.failed_calls) == ("ab", 1)
    assert "bare has no chat template" in result.failures[0]


async def test_the_error_of_a_student_holds_the_answer_so_far(qwen3: Tokenizer) -> None:
    with pytest.raises(EngineError, match="student: broken") as caught:
        await answer([["a b", EngineError("broken")]], tokenizer=qwen3)
    assert (caught.value.role, caught.value.transcript.reader_text) == ("student", "a b")
    with pytest.raises(EngineError, match="without saying why"):
        await answer(Says(None, [text_chunk("a")]))
    with pytest.raises(EngineError, match="without writing anything"):
        await answer(Says(None, [text_chunk(finish=Finish.STOP)]))


async def test_the_breakers_state_is_in_events_and_in_the_result(qwen3: Tokenizer) -> None:
    class Flaky(ScriptedEngine):
        state = BreakerState.OPEN

        @property
        def breaker(self) -> BreakerState:
            return self.state

    student, teacher = ScriptedEngine(["a<call>1</call>", "b"], qwen3), Flaky("x", qwen3)
    events = [e async for e in Relay(student, teacher).astream("Q", **CONTINUE)]
    ended = next(e for e in events if isinstance(e, CallEnded))
    assert (ended.breaker, events[-1].result.breaker) == (BreakerState.OPEN, BreakerState.OPEN)
    result = await answer(student, ScriptedEngine("x", qwen3), **CONTINUE)
    assert (result.calls[0].breaker, result.breaker) == (None, None), "an engine without one"
    assert (await answer(ScriptedEngine("a", qwen3), None)).breaker is None


# -- contexts --------------------------------------------------------------------------------------------------


async def test_a_prompt_longer_than_the_students_context(qwen3: Tokenizer) -> None:
    student = ScriptedEngine("a", qwen3, context_length=8, record=True)
    with pytest.raises(ContextOverflow, match=r"student: the prompt has \d+ tokens, the model's context is 8"):
        await answer(student)
    assert student.requests == []


async def test_a_students_context_that_fills_midway(qwen3: Tokenizer) -> None:
    prompt = len((await answer("", tokenizer=qwen3)).transcript.prompt_ids)
    student = ["a <call>2</call>", " b c d e"]
    command = len(qwen3.encode(student[0]))
    for space, text in [(command + 2 + 2, "a x y b c"), (command + 2, "a x y"), (command + 1, "a x y")]:
        engine = ScriptedEngine(student, qwen3, context_length=prompt + space)
        result = await answer(engine, ScriptedEngine("x y z", qwen3))
        assert (result.text, result.finish_reason) == (text, FinishReason.LENGTH)


async def test_an_endpoint_that_reports_midway_that_its_context_is_full() -> None:
    student = Says(None, [text_chunk("a<call>1</call>")], [ContextOverflow("too long")])
    result = await answer(student, ScriptedEngine("x", None))
    assert (result.text, result.finish_reason) == ("ax", FinishReason.LENGTH)
    with pytest.raises(ContextOverflow, match="student: too long"):
        await answer(Says(None, [ContextOverflow("too long")]))


async def test_a_prompt_longer_than_the_teachers_context(qwen3: Tokenizer) -> None:
    teacher = ScriptedEngine("x", qwen3, context_length=8, record=True)
    result = await answer(ScriptedEngine(["a<call>2</call>", "b"], qwen3), teacher)
    assert (result.text, result.usage.failed_calls, teacher.requests) == ("ab", 1, [])
    assert "the model's context is 8" in result.failures[0]
    assert (result.usage.teacher_prompt_tokens, result.usage.teacher_cached_tokens) == (0, 0), "nothing was read"


async def test_one_engine_in_both_roles(qwen3: Tokenizer) -> None:
    prompt = len((await answer("", tokenizer=qwen3)).transcript.prompt_ids)
    command = len(qwen3.encode("<call>3</call>"))
    both = ScriptedEngine(["<call>3</call>", "b"], qwen3, context_length=prompt + command)
    result = await answer(both, both)
    assert result.finish_reason is FinishReason.LENGTH
    assert result.usage.calls == 1


# -- text-only engines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 100])
async def test_a_text_only_student(qwen3: Tokenizer, chunk: int) -> None:
    student = ScriptedEngine(["ab <call>2</call> and on", " c"], None, chunk=chunk, record=True)
    teacher = ScriptedEngine("x y z", qwen3, record=True)
    result = await answer(student, teacher, [{"role": "user", "content": "Q"}])
    assert result.text == "ab x y c"
    assert parts(result)[:2] == [("student", "ab "), ("command", "<call>2</call>")]
    first, second = (prompt for prompt, _ in student.requests)
    assert (first.token_ids, first.continuation, first.messages) == (None, "", ({"role": "user", "content": "Q"},))
    assert second.continuation == "ab <call>2</call>x y"
    assert teacher.requests[0][0].continuation == "ab "
    assert result.transcript.training_row().token_ids == ()


@pytest.mark.parametrize("chunk", [1, 100])
async def test_what_a_text_only_student_wrote_behind_a_command_is_discarded(chunk: int) -> None:
    """It costs, but takes nothing of max_tokens away: here, a character is a token."""
    student = ScriptedEngine(["ab <call>2</call> and so much more", " c and on"], None, chunk=chunk)
    wanted = len("ab <call>2</call>" + " c and on") + 2
    result = await answer(student, ScriptedEngine("xyz", None), max_tokens=wanted + 1)
    assert (result.text, result.finish_reason) == ("ab xy c and on", FinishReason.STOP)
    usage = result.usage
    assert usage.student_tokens + usage.command_tokens == wanted - 2 and usage.completion_tokens == wanted
    behind = wanted + 1 - len("ab <call>2</call>")  # what max_tokens leaves of it
    assert usage.discarded_tokens == (0 if chunk == 1 else behind)


async def test_a_text_only_student_with_a_tokenizer(qwen3: Tokenizer) -> None:
    class TextOnly(ScriptedEngine):
        @property
        def tokenizer(self) -> Tokenizer:
            return qwen3

        def _steps(self, prompt):
            yield Token(None, ["ab<call>2</call>", " c"][prompt.turn])

    student = TextOnly("", None, record=True)
    result = await answer(student, ScriptedEngine("x y", qwen3))
    assert result.text == "abx y c"
    assert [p.token_ids for p, _ in student.requests] == [None, None]
    assert student.requests[1][0].text.endswith("ab<call>2</call>x y")
    assert result.usage.prompt_tokens == len(result.transcript.prompt_ids) > 0


# -- stop strings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("author", ["student", "both", "around a command"])
async def test_stop_strings_in_the_readers_text(qwen3: Tokenizer, author: str) -> None:
    student, teacher = {
        "student": (["a END b"], "x"),
        "both": (["a E<call>3</call>", "D b"], "N"),
        "around a command": (["a E<call>abc</call>N<call>0</call>D b"], "x"),
    }[author]
    teacher_engine = ScriptedEngine(teacher, qwen3)
    relay = Relay(ScriptedEngine(student, qwen3), teacher_engine, RelaySettings(stop="END", on_teacher_stop="continue"))
    events = [e async for e in relay.astream("Q")]
    result = events[-1].result
    assert (result.text, result.finish_reason) == ("a ", FinishReason.STOP_STRING)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "a "
    assert "".join(s.text for s in result.segments if s.author != Author.COMMAND) == "a "
    assert result.usage.completion_tokens == len([i for s in result.segments for i in s.token_ids])


async def test_a_stop_string_in_the_teachers_words_ends_the_call(qwen3: Tokenizer) -> None:
    result = await answer(["a<call>9</call>", "b"], "x\n\ny z", tokenizer=qwen3, stop=["\n\n"])
    assert (result.text, result.finish_reason) == ("ax", FinishReason.STOP_STRING)
    assert result.calls[0].received < 9


async def test_the_beginning_of_a_stop_string_is_shown_at_the_end(qwen3: Tokenizer) -> None:
    result = await answer("a EN", tokenizer=qwen3, stop="END")
    assert (result.text, result.finish_reason) == ("a EN", FinishReason.STOP)


# -- prompts ---------------------------------------------------------------------------------------------------


async def test_every_prompt_has_the_number_of_its_turn(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["<call>1</call>", "<call>1</call>", "b"], qwen3, record=True)
    teacher = ScriptedEngine(["x", "y"], qwen3, record=True)
    await answer(student, teacher, **CONTINUE)
    assert [p.turn for p, _ in student.requests] == [0, 1, 2]
    assert [p.turn for p, _ in teacher.requests] == [0, 1]


async def test_a_prefix_is_part_of_the_prompt_and_not_of_the_answer(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["a<call>2</call>", "b"], qwen3, record=True)
    teacher = ScriptedEngine("x y", qwen3, record=True)
    result = await answer(student, teacher, prefix="<tool_call>\n{")
    assert result.text == "ax yb"
    opening = qwen3.encode("<tool_call>")[0]
    for engine in (student, teacher):
        prompt = engine.requests[0][0]
        assert opening in prompt.token_ids
        assert prompt.continuation.startswith("<tool_call>\n{")
        assert qwen3.decode(prompt.token_ids, control=True) == prompt.text
    assert result.usage.prompt_tokens == len(student.requests[0][0].token_ids)


async def test_sampling_is_passed_on(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["<call>1</call>", "<call>1</call>", "b"], qwen3, record=True)
    teacher = ScriptedEngine(["x", "y"], qwen3, record=True)
    options = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": 3, "teacher_temperature": 0.0}
    await answer(student, teacher, **CONTINUE, **options)
    asked = [s for _, s in student.requests + teacher.requests]
    assert [s.temperature for s in asked] == [0.5] * 3 + [0.0] * 2
    assert {(s.top_p, s.top_k) for s in asked} == {(0.9, 7)}
    assert len({s.seed for s in asked}) == 5, "the same seed again would repeat the same draws"
    await answer(student, teacher, temperature=0.7)
    assert teacher.requests[-1][1].temperature == 0.7
    assert teacher.requests[-1][1].seed is None


@pytest.mark.parametrize("prompt", ["", [], [{"role": "robot", "content": "x"}], [{"role": "user", "content": 3}], 7])
async def test_a_bad_prompt_generates_nothing(qwen3: Tokenizer, prompt: object) -> None:
    student = ScriptedEngine("a", qwen3, record=True)
    with pytest.raises(ConfigurationError):
        await answer(student, prompt=prompt)
    assert student.requests == []


async def test_bad_settings_and_engines_are_refused_at_once(qwen3: Tokenizer) -> None:
    student = ScriptedEngine("a", qwen3, record=True)
    with pytest.raises(ConfigurationError, match="did you mean max_tokens"):
        await answer(student, maxtokens=3)
    with pytest.raises(ConfigurationError, match="settings is a dict"):
        Relay(student, None, {"max_tokens": 3})
    with pytest.raises(ConfigurationError, match="there is no folder nowhere"):
        Relay(student=Path("nowhere"))
    with pytest.raises(ConfigurationError):
        Relay(student=7)
    assert student.requests == []


# -- usage -----------------------------------------------------------------------------------------------------


async def test_prompt_tokens_are_counted_at_every_turn(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["a<call>2</call>", "b<call>2</call>", "c"], qwen3, record=True)
    teacher = ScriptedEngine("x y", qwen3, record=True)
    result = await answer(student, teacher, prices=Prices(teacher_input=1e6), **CONTINUE)
    assert result.usage.student_prompt_tokens == sum(len(p.token_ids) for p, _ in student.requests)
    assert result.usage.teacher_prompt_tokens == sum(len(p.token_ids) for p, _ in teacher.requests)
    assert result.cost == result.usage.teacher_prompt_tokens
    assert result.usage.teacher_cached_tokens is None, "a scripted engine does not say"


@pytest.mark.parametrize(("cached", "total"), [((3, 4), 7), ((None, 4), None), ((3, None), None), ((0, 0), 0)])
async def test_cached_tokens_are_none_if_one_request_does_not_report_them(
    cached: tuple[int | None, int | None], total: int | None
) -> None:
    turns = [[text_chunk("x", finish=Finish.LENGTH, usage=EngineUsage(10, n, 1))] for n in cached]
    student = ScriptedEngine(["<call>1</call>", "<call>1</call>", "b"], None)
    result = await answer(student, Says(None, *turns))
    assert (result.usage.teacher_prompt_tokens, result.usage.teacher_cached_tokens) == (20, total)


async def test_the_prompt_length_of_a_student_without_a_tokenizer_is_the_reported_one() -> None:
    usage = [EngineUsage(10, None, 1), EngineUsage(14, None, 1)]
    student = Says(
        None,
        [text_chunk("<call>1</call>", finish=Finish.STOP, usage=usage[0])],
        [text_chunk("b", finish=Finish.END, usage=usage[1])],
    )
    result = await answer(student, ScriptedEngine("x", None), **CONTINUE)
    assert (result.usage.prompt_tokens, result.usage.student_prompt_tokens) == (10, 24)


async def test_notes_of_an_engine_reach_the_result() -> None:
    teacher = Says(None, [Chunk((Token(None, "x"),), Finish.LENGTH, notes={"approximate": "chat"})])
    result = await answer(ScriptedEngine(["<call>1</call>", "b"], None), teacher)
    assert result.notes == {"teacher_approximate": "chat"}


async def test_counts_in_notes_add_up_over_the_calls() -> None:
    token = Token(None, "x")
    first = [Chunk((token,), notes={"resumed": 1}), Chunk((token,), Finish.LENGTH, notes={"resumed": 2})]
    teacher = Says(None, first, [Chunk((token, token), notes={"resumed": 1}), EngineError("never reached")])
    result = await answer(ScriptedEngine(["<call>2</call>", "<call>2</call>", "b"], None), teacher)
    assert (result.notes, result.failures) == ({"teacher_resumed": 3}, [])


async def test_a_student_that_never_calls_is_told_once(qwen3: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    def told() -> int:
        return sum("written no command" in record.getMessage() for record in caplog.records)

    untrained = ScriptedEngine("no call", qwen3)
    relay = Relay(untrained, ScriptedEngine("x", qwen3))
    for _ in range(19):
        await relay.agenerate("Q")
    assert told() == 0
    for _ in range(30):
        await relay.agenerate("Q")
    assert told() == 1
    assert "scripted" in caplog.text and "relay_core.train" in caplog.text
    caplog.clear()
    trained = ScriptedEngine(lambda prompt: "<call>1</call>" if prompt.text.count("first") else "no call", qwen3)
    for teacher, options in ((None, {}), (ScriptedEngine("x", qwen3), {"calls": False})):
        for _ in range(30):  # where no call may come, none is missed
            await Relay(trained, teacher).agenerate("Q", **options)
    relay = Relay(trained, ScriptedEngine("x", qwen3))
    await relay.agenerate("first")
    for _ in range(60):
        await relay.agenerate("Q")
    untrained = ScriptedEngine("no call", qwen3)
    untrained.warns_without_commands = False  # in training
    for _ in range(30):
        await Relay(untrained, ScriptedEngine("x", qwen3)).agenerate("Q")
    assert told() == 0


@pytest.mark.parametrize("stray", [151_669, 151_900, 10**6])
async def test_ids_beyond_the_vocabulary_cost_no_answer(qwen3: Tokenizer, stray: int) -> None:
    """Models pad their embedding, so an id beyond the vocabulary can be sampled; it has no text."""
    student = ScriptedEngine([["a", stray, "<call>3</call>"], "b"], qwen3, record=True)
    teacher = ScriptedEngine([["x", stray, "y"]], qwen3, record=True)
    result = await answer(student, teacher, **CONTINUE)
    assert result.text == "axyb"
    assert stray in result.segments[0].token_ids and stray in result.segments[2].token_ids
    assert stray not in (teacher.requests[0][0].token_ids or ())
    assert list(student.requests[1][0].token_ids or ()).count(stray) == 1, "its own, which only grow"


async def test_a_call_for_which_the_students_own_count_leaves_no_token_is_refused() -> None:
    """It used to reach the teacher with max_tokens=0, and failed (smol behind llama.cpp's server)."""
    student = Says(None, [text_chunk("= <call>3</call>", usage=EngineUsage(9, 0, 12)), text_chunk(finish=Finish.STOP)])
    teacher = ScriptedEngine("282", None, record=True)
    result = await answer(student, teacher, max_tokens=12, on_teacher_error="raise")
    assert (result.text, result.finish_reason) == ("= ", FinishReason.LENGTH)
    assert (result.usage.calls, result.usage.refused_calls, result.failures) == (0, 1, [])
    assert teacher.requests == []
