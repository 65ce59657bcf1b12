"""The teacher warmed at ``<call>``: the same answer, sooner; what came to nothing is ended, and counted."""

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import (
    ContextOverflow,
    EngineError,
    Finish,
    FinishReason,
    Prices,
    Relay,
    RelayResult,
    RelaySettings,
    ScriptedEngine,
    TeacherUnavailable,
    TextDelta,
)
from relay_core.engines.base import Token
from relay_core.engines.scripted import Delay
from relay_core.tokenizer import Tokenizer

ON = {"warming": "on", "on_teacher_stop": "continue"}


def ask(student: ScriptedEngine, teacher: ScriptedEngine, **options) -> RelayResult:
    return asyncio.run(Relay(student, teacher).agenerate("Q", **{**ON, **options}))


def waste(result: RelayResult) -> tuple[int, int]:
    """Requests and tokens in vain."""
    return result.usage.wasted_requests, result.usage.wasted_tokens


# -- the same answer -------------------------------------------------------------------------------------------

commands = st.sampled_from(
    ["<call>2</call>", " <call> 12 </call>", "<call>0</call>", "<call>x</call>", "<call>1</call>\n\n", "<call>", "<ca",
     "<call>" + "y" * 33, "<call>1<call>2</call>", "</call>"]
)  # fmt: skip
words = st.lists(st.one_of(st.sampled_from(["so", " ", "47", "é", "END", "."]), commands), max_size=5).map("".join)
fault = st.sampled_from([EngineError("broken"), ContextOverflow("full"), Finish.LENGTH, Delay(0.0)])
replies = st.lists(st.lists(st.one_of(words, fault), max_size=3), min_size=3, max_size=3)
maybe = st.one_of(st.none(), st.integers(1, 6))


@given(
    turns=st.lists(words, min_size=1, max_size=4), replies=replies, chunks=st.tuples(*[st.integers(1, 5)] * 2),
    ids=st.tuples(st.booleans(), st.booleans()), honour_stop=st.booleans(), context=st.integers(20, 60),
    max_tokens=st.integers(1, 40), max_calls=maybe, max_call_tokens=maybe, stop=st.sampled_from([None, "END", "7"]),
    on_teacher_stop=st.sampled_from(["finish", "continue"]),
)  # fmt: skip
def test_warmed_or_not_the_answer_is_the_same(
    qwen3: Tokenizer, turns, replies, chunks, ids, honour_stop, context, **options
) -> None:
    outcomes = []
    for warming in ("off", "on"):
        mine, theirs = (qwen3 if has else None for has in ids)
        student = ScriptedEngine(turns, mine, chunk=chunks[0], honour_stop=honour_stop)
        teacher = ScriptedEngine(replies, theirs, chunk=chunks[1], context_length=context, record=True)
        result = ask(student, teacher, warming=warming, **options)
        assert teacher.active == 0
        usage = result.usage
        asked = sum(len(p.token_ids or ()) for p, _ in teacher.requests)
        if "full" not in result.failures and "full" not in str(replies):  # what does not fit is not read
            assert usage.teacher_prompt_tokens + usage.wasted_prompt_tokens == asked
            assert len(teacher.requests) - usage.wasted_requests <= usage.calls
        assert warming == "on" or waste(result) == (0, 0)
        calls = [(c.requested, c.received, c.error) for c in result.calls]
        outcomes.append((
            result.segments, result.text, result.finish_reason, calls, result.transcript.training_row(),
            usage.teacher_prompt_tokens, usage.student_prompt_tokens, usage.failed_calls, usage.refused_calls,
        ))  # fmt: skip
    assert outcomes[0] == outcomes[1]


async def test_the_call_uses_the_early_stream(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["47 * 6 = <call>3</call>", ". Done."], qwen3)
    teacher = ScriptedEngine("282 and then some", qwen3, record=True)
    result = await Relay(student, teacher).agenerate("47 * 6?", **ON, max_call_tokens=20)
    assert (result.text, waste(result)) == ("47 * 6 = 282. Done.", (0, 0))
    [(prompt, sampling)] = teacher.requests
    assert (prompt.continuation, sampling.max_tokens) == ("47 * 6 = ", 20)
    assert result.calls[0].received == 3


async def test_seeds_do_not_depend_on_warming(qwen3: Tokenizer) -> None:
    seeds = []
    for warming in ("off", "on"):
        student = ScriptedEngine(["<call>1</call>", "<call>1</call>", "b"], qwen3, record=True)
        teacher = ScriptedEngine(["x", "y"], qwen3, record=True)
        options = {**ON, "warming": warming, "seed": 3, "temperature": 0.5}
        await Relay(student, teacher).agenerate("Q", **options)
        seeds.append([s.seed for _, s in student.requests + teacher.requests])
    assert seeds[0] == seeds[1]


# -- sooner ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("warming", "seconds"), [("on", 5.0), ("off", 9.0)])
def test_the_teacher_reads_while_the_student_writes(qwen3: Tokenizer, timeless, warming: str, seconds: float) -> None:
    student = ScriptedEngine([["<call>", Delay(5.0), "1</call>"], "b"], qwen3)
    teacher = ScriptedEngine([[Delay(4.0), "x"]], qwen3)

    async def timed() -> float:
        result = await Relay(student, teacher).agenerate("Q", **{**ON, "warming": warming})
        assert result.text == "xb"
        return asyncio.get_running_loop().time()

    assert timeless(timed()) == pytest.approx(seconds)


def test_a_teacher_starts_while_the_student_writes(qwen3: Tokenizer, timeless) -> None:
    class Slow(ScriptedEngine):
        async def start(self) -> None:
            await asyncio.sleep(max(0.0, 4.0 - asyncio.get_running_loop().time()))

    async def timed(command: str) -> tuple[str, int, float]:
        student = ScriptedEngine([["a<call>", Delay(2.0), command], "b"], qwen3)
        teacher = Slow("x", qwen3, record=True)
        result = await Relay(student, teacher).agenerate("Q", **ON)
        return result.text, len(teacher.requests), asyncio.get_running_loop().time()

    assert timeless(timed("1</call>")) == ("axb", 1, pytest.approx(4.0))
    assert timeless(timed("0</call>")) == ("a", 0, pytest.approx(2.0))


# -- when ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warming", "warms", "most"), [("auto", True, 9), ("auto", False, 2), ("on", False, 9), ("off", True, 2)]
)
async def test_the_setting_warming(qwen3: Tokenizer, warming: str, warms: bool, most: int) -> None:
    teacher = ScriptedEngine("x y z", qwen3, warms=warms, record=True)
    result = await Relay(ScriptedEngine(["<call>2</call>", "b"], qwen3), teacher).agenerate(
        "Q", warming=warming, max_call_tokens=9
    )
    assert result.text == "x yb"
    assert [s.max_tokens for _, s in teacher.requests] == [most]


async def test_an_engine_that_cannot_be_warmed_is_not(qwen3: Tokenizer) -> None:
    class Plain(ScriptedEngine):
        warmable = False

    teacher = Plain("x y z", qwen3, record=True)
    result = await Relay(ScriptedEngine(["<call>2</call>", "b"], qwen3), teacher).agenerate("Q", **ON)
    assert result.text == "x yb"
    assert [s.max_tokens for _, s in teacher.requests] == [2]


@pytest.mark.parametrize(
    ("budgets", "most"),
    [({"max_call_tokens": 4}, 4), ({"max_teacher_tokens": 5}, 5), ({"max_tokens": 9}, 6),
     ({"max_call_tokens": 7, "max_teacher_tokens": 8, "max_tokens": 99}, 7)],
)  # fmt: skip
async def test_an_early_stream_is_begun_for_the_most_tokens_that_the_budgets_allow(
    qwen3: Tokenizer, budgets: dict[str, int], most: int
):
    assert len(qwen3.encode("<call>")) == 3
    teacher = ScriptedEngine("x y z", qwen3, record=True)
    await Relay(ScriptedEngine(["<call>1</call>", "b"], qwen3), teacher).agenerate("Q", **ON, **budgets)
    assert [s.max_tokens for _, s in teacher.requests] == [most]


async def test_a_context_that_is_nearly_full(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["a<call>9</call>", "b"], qwen3, record=True)
    room = len((await Relay(student, None).agenerate("Q")).transcript.prompt_ids) + len(qwen3.encode("a"))
    for left, text, requests in [(2, "ax yb", 1), (0, "ab", 0)]:
        teacher = ScriptedEngine("x y z", qwen3, context_length=room + left, record=True)
        result = await Relay(student, teacher).agenerate("Q", **ON)
        assert (result.text, len(teacher.requests), waste(result)) == (text, requests, (0, 0))
        assert [s.max_tokens for _, s in teacher.requests] == [left] * requests


@pytest.mark.parametrize("budgets", [{"calls": False}, {"max_calls": 0}, {"max_teacher_tokens": 0}, {"max_tokens": 3}])
async def test_no_stream_is_begun_early_without_budget(qwen3: Tokenizer, budgets: dict[str, int]) -> None:
    teacher = ScriptedEngine("x", qwen3, record=True)
    result = await Relay(ScriptedEngine(["<call>1</call>", "b"], qwen3), teacher).agenerate("Q", **ON, **budgets)
    assert (teacher.requests, waste(result)) == ([], (0, 0))


# -- in vain ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "text"),
    [("a<call>0</call>b", "ab"), ("a<call>x</call>b", "ab"), ("a<call>b", "a<call>b"),
     ("a<call>" + "x" * 33 + " b", "a<call>" + "x" * 33 + " b")],
)  # fmt: skip
async def test_the_early_stream_of_a_command_that_opens_no_call_is_dropped(
    qwen3: Tokenizer, said: str, text: str
) -> None:
    prices = Prices(teacher_input=1e6, teacher_output=1e5)
    teacher = ScriptedEngine("never seen", qwen3, record=True)
    result = await Relay(ScriptedEngine([said], qwen3), teacher).agenerate("Q", **ON, prices=prices)
    [(prompt, _)] = teacher.requests
    assert (result.text, result.calls, result.failures) == (text, [], [])
    assert (prompt.continuation, teacher.active) == ("a", 0)
    assert (result.usage.teacher_prompt_tokens, result.usage.teacher_tokens) == (0, 0)
    assert (result.usage.wasted_requests, result.usage.wasted_prompt_tokens) == (1, len(prompt.token_ids))
    assert result.usage.wasted_cached_tokens is None, "a scripted engine does not say"
    assert result.cost == pytest.approx(len(prompt.token_ids) + 0.1 * result.usage.wasted_tokens)


async def test_a_command_after_an_unclosed_opening_tag(qwen3: Tokenizer) -> None:
    said = "a<call>" + "x" * 30 + "<call>2</call>"
    teacher = ScriptedEngine("x y z", qwen3, record=True)
    result = await Relay(ScriptedEngine([said, "b"], qwen3), teacher).agenerate("Q", **ON)
    assert result.text == said.removesuffix("<call>2</call>") + "x yb"
    assert [p.continuation for p, _ in teacher.requests] == ["a", said.removesuffix("<call>2</call>")]
    assert result.usage.wasted_requests == 1


async def test_text_after_the_command_in_its_last_token_needs_another_prompt(qwen3: Tokenizer) -> None:
    assert qwen3.encode(">\n\n") == [qwen3.encode("</call>\n\n")[-1]]
    teacher = ScriptedEngine("x y z", qwen3, record=True)
    result = await Relay(ScriptedEngine(["a<call>2</call>\n\n", "b"], qwen3), teacher).agenerate("Q", **ON)
    assert result.text == "a\n\nx yb"
    assert [p.continuation for p, _ in teacher.requests] == ["a", "a\n\n"]
    assert [p.turn for p, _ in teacher.requests] == [0, 0]
    assert result.usage.wasted_requests == 1


@pytest.mark.parametrize("tokens", ["ids", "text"])
async def test_tokens_beyond_n_are_waste(qwen3: Tokenizer, tokens: str) -> None:
    teacher = ScriptedEngine("0123456789", qwen3 if tokens == "ids" else None, chunk=7)
    result = await Relay(ScriptedEngine(["<call>2</call>", "b"], qwen3), teacher).agenerate("Q", **ON)
    assert (result.text, result.usage.teacher_tokens, waste(result)) == ("01b", 2, (0, 5))


async def test_a_stop_string_and_the_end_of_a_command_in_one_chunk(qwen3: Tokenizer) -> None:
    student, teacher = ScriptedEngine(["a<call>0</call>END"], qwen3), ScriptedEngine("x", qwen3)
    result = await Relay(student, teacher).agenerate("Q", **ON, stop="END")
    assert (result.text, result.finish_reason) == ("a", FinishReason.STOP_STRING)
    assert (result.usage.wasted_requests, teacher.active) == (1, 0)


# -- failures, deadlines, cancellation -------------------------------------------------------------------------


class Failing(ScriptedEngine):
    """Fails at once."""

    async def stream(self, prompt, sampling):
        self.requests.append((prompt, sampling))
        raise EngineError("broken")
        yield


async def test_a_failure_counts_only_if_the_call_happens(qwen3: Tokenizer) -> None:
    teacher = Failing("", qwen3)
    result = await Relay(ScriptedEngine(["a<call>0</call>b"], qwen3), teacher).agenerate("Q", **ON)
    assert (result.text, result.failures, result.usage.failed_calls) == ("ab", [], 0)
    assert (len(teacher.requests), result.usage.wasted_requests) == (1, 1)
    student = ScriptedEngine([["a<call>", Delay(0.0), Delay(0.0), "2</call>"], "b"], qwen3)
    teacher = Failing("", qwen3)
    result = await Relay(student, teacher).agenerate("Q", **ON)
    assert (result.text, result.failures, result.usage.failed_calls) == ("ab", ["broken"], 1)
    assert (len(teacher.requests), result.usage.wasted_requests) == (1, 0)
    assert result.usage.teacher_prompt_tokens == len(teacher.requests[0][0].token_ids)
    with pytest.raises(TeacherUnavailable, match="broken"):
        await Relay(student, Failing("", qwen3)).agenerate("Q", **ON, on_teacher_error="raise")


async def test_an_error_that_is_not_ours_is_raised_only_if_the_call_happens(qwen3: Tokenizer) -> None:
    teacher = ScriptedEngine([[ZeroDivisionError("a bug")]], qwen3)
    assert (await Relay(ScriptedEngine(["a<call>0</call>b"], qwen3), teacher).agenerate("Q", **ON)).text == "ab"
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await Relay(ScriptedEngine(["a<call>1</call>b"], qwen3), teacher).agenerate("Q", **ON)


def test_the_teachers_time_runs_from_the_end_of_the_command(qwen3: Tokenizer, timeless) -> None:
    student = ScriptedEngine([["a<call>", Delay(10.0), "2</call>"], "b"], qwen3)

    async def timed(teacher: ScriptedEngine) -> tuple[RelayResult, float]:
        result = await Relay(student, teacher).agenerate("Q", **ON, teacher_timeout_s=3.0)
        return result, asyncio.get_running_loop().time()

    result, seconds = timeless(timed(ScriptedEngine([[Delay(12.0), "x y"]], qwen3)))
    assert (result.text, result.failures, seconds) == ("ax yb", [], pytest.approx(12.0))
    late = ScriptedEngine([[Delay(3600.0), "x y"]], qwen3)
    result, seconds = timeless(timed(late))
    assert (result.text, result.failures, seconds) == ("ab", ["no complete answer within 3.0 s"], pytest.approx(13.0))
    assert (late.active, waste(result)) == (0, (0, 0))


@pytest.mark.parametrize("slow", [[Delay(3600.0)], ["1</call>"]])
def test_the_deadline_cancels_the_early_stream(qwen3: Tokenizer, timeless, slow: list) -> None:
    student = ScriptedEngine([["a<call>", *slow]], qwen3)
    teacher = ScriptedEngine([[Delay(3600.0), "x"]], qwen3)
    result = timeless(Relay(student, teacher).agenerate("Q", **ON, deadline_s=2.0))
    assert (result.finish_reason, teacher.active) == (FinishReason.DEADLINE, 0)
    assert result.usage.wasted_requests + result.usage.calls == 1


async def test_a_deadline_between_the_command_and_the_first_token(qwen3: Tokenizer, monkeypatch) -> None:
    student, teacher = ScriptedEngine(["a<call>1</call>"], qwen3), ScriptedEngine("x", qwen3)
    relay, loop = Relay(student, teacher), asyncio.get_running_loop()
    clock, passed = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: clock() + passed)
    async with aclosing(relay.astream("Q", **ON, deadline_s=1000.0)) as events:
        async for event in events:
            if not isinstance(event, TextDelta):
                passed = 2000.0
    assert event.result.finish_reason is FinishReason.DEADLINE
    assert teacher.active == 0


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_closing_an_answer_cancels_the_early_stream(qwen3: Tokenizer, how: str) -> None:
    student = ScriptedEngine([["a b<call>", Delay(3600.0)]], qwen3, chunk=100)
    teacher = ScriptedEngine([["x", Delay(3600.0)]], qwen3)
    relay = Relay(student, teacher)
    if how == "cancel":
        task = asyncio.ensure_future(relay.agenerate("Q", **ON))
        while not teacher.active:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        async with aclosing(relay.astream("Q", **ON)) as events:
            assert (await anext(events)).text == "a b"
            while not teacher.active:
                await asyncio.sleep(0)
    assert (student.active, teacher.active) == (0, 0)


async def test_an_error_of_the_student_cancels_the_early_stream(qwen3: Tokenizer) -> None:
    student = ScriptedEngine([["a<call>", Delay(0.0), EngineError("broken")]], qwen3)
    teacher = ScriptedEngine([["x", Delay(3600.0)]], qwen3, record=True)
    with pytest.raises(EngineError, match="student: broken"):
        await Relay(student, teacher).agenerate("Q", **ON)
    assert (len(teacher.requests), teacher.active) == (1, 0)


async def test_hundreds_of_answers_leave_no_request_running(qwen3: Tokenizer) -> None:
    turns = ["a<call>2</call>", "<call>x</call>", "<call>0</call><call>3</call>", "end<call>"]
    student, teacher = ScriptedEngine(turns, qwen3, chunk=2), ScriptedEngine("1 2 3 4", qwen3, chunk=3)
    settings = RelaySettings(**ON)
    cold = await Relay(student, teacher, settings).agenerate("Q", warming="off")
    for result in await Relay(student, teacher, settings).abatch(["Q"] * 200):
        assert (result.text, result.segments) == (cold.text, cold.segments)
    assert (student.active, teacher.active) == (0, 0)


# -- text only -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 100])
async def test_a_text_only_student(qwen3: Tokenizer, chunk: int) -> None:
    student = ScriptedEngine(["ab <call>2</call> and on", " c"], None, chunk=chunk)
    teacher = ScriptedEngine("x y z", None, chunk=chunk, record=True)
    result = await Relay(student, teacher).agenerate("Q", **ON)
    assert (result.text, result.usage.teacher_tokens, result.usage.wasted_requests) == ("ab x  c", 2, 0)
    assert [p.continuation for p, _ in teacher.requests] == ["ab "]


async def test_words_and_a_tag_in_one_piece_of_text() -> None:
    class Pieces(ScriptedEngine):
        def _delivered(self, batch):
            return batch

        def _steps(self, prompt):
            for piece in [["so <call>", "2</call>"], ["."]][prompt.turn]:
                yield Token(None, piece)

    teacher = ScriptedEngine("xyz", None, record=True)
    result = await Relay(Pieces("", None), teacher).agenerate("Q", **ON)
    assert result.text == "so xy."
    assert [p.continuation for p, _ in teacher.requests] == ["so "]
