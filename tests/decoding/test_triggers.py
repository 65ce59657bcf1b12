"""Triggers: those that ship, and some written here, as a user would."""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass

import pytest

from relay_core import (
    Chance,
    Commands,
    ConfigurationError,
    EngineError,
    Never,
    Relay,
    RelayResult,
    RelaySettings,
    ScriptedEngine,
    Trigger,
    Uncertain,
)
from relay_core.command import Call
from relay_core.decoding.triggers import Candidate, Decider, parse_trigger
from relay_core.engines.base import Chunk, Engine, Finish, Token
from relay_core.engines.scripted import Doubt
from relay_core.tokenizer import Tokenizer
from relay_core.transcript import LONGEST_TOKEN


@dataclass(frozen=True)
class Unlikely(Trigger):
    """Calls in place of a token whose log-probability is under ``below``; not at the answer's first token."""

    below: float

    def decider(self, seed: int | None) -> Decider:
        return Doubts(self.below)


class Doubts(Decider):
    reads_tokens = True

    def __init__(self, below: float) -> None:
        self.below = below

    def before_token(self, candidate: Candidate) -> int:
        logprob = candidate.token.logprob
        return 2 if candidate.position and logprob is not None and logprob < self.below else 0


def answer(trigger: Trigger | str, student: Engine, teacher: Engine, **settings) -> RelayResult:
    options = {"on_teacher_stop": "continue", **settings}
    return Relay(student, teacher, RelaySettings(trigger=trigger)).generate("Q", **options)


def test_a_command_requests_the_number_that_the_student_wrote(qwen3: Tokenizer) -> None:
    result = answer(Commands(), ScriptedEngine(["a<call>2</call>", "b"], qwen3), ScriptedEngine("xyz", None))
    assert (result.text, result.calls[0].requested, result.calls[0].received) == ("axyb", 2, 2)


def test_never_refuses_counts_and_hides_every_command(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["a<call>2</call>b"], qwen3, record=True)
    teacher = ScriptedEngine("x", qwen3, record=True)
    result = answer(Never(), student, teacher)
    assert (result.text, result.usage.calls, result.usage.refused_calls) == ("ab", 0, 1)
    assert teacher.requests == []
    assert student.requests[0][1].stop == (), "where no call can come, the engine need not stop at one"


@pytest.mark.parametrize("calls", [True, False])
def test_without_calls_the_trigger_is_never(qwen3: Tokenizer, calls: bool) -> None:
    for trigger in (Commands(), Uncertain(1.0, 3), Chance(1.0, 3)):
        student, teacher = ScriptedEngine(["a<call>1</call>", "b"], qwen3, logprob=-1.0), ScriptedEngine("x", qwen3)
        result = answer(trigger, student, teacher, calls=calls)
        assert (result.usage.calls > 0) == calls
        assert "<call>" not in result.text


@pytest.mark.parametrize(("n", "requested", "text"), [(3, 3, "avwxb"), (9, 9, "avwxyzb"), ("rest", 60, "avwxyz")])
def test_a_trigger_may_replace_the_number_in_a_command(qwen3: Tokenizer, n, requested: int, text: str) -> None:
    student, teacher = ScriptedEngine(["a<call>7</call>", "b"], qwen3), ScriptedEngine("vwxyz", None)
    stop = "finish" if n == "rest" else "continue"
    command = len(qwen3.encode("a<call>7</call>"))
    result = answer(Commands(n), student, teacher, max_tokens=60 + command, on_teacher_stop=stop)
    assert (result.text, result.calls[0].requested) == (text, requested)
    assert result.usage.command_tokens > 0
    zero = answer(Commands(n), ScriptedEngine(["a<call>0</call>b"], qwen3), teacher)
    assert (zero.text, zero.usage.calls, zero.usage.refused_calls) == ("ab", 0, 1), "a command for 0 tokens is no call"


def test_a_call_in_place_of_a_token(qwen3: Tokenizer) -> None:
    """The doubtful token is not written, the teacher writes from there, the student goes on behind its words."""
    one, two, three = (qwen3.encode(word)[0] for word in ("one", " two", " three"))

    class Says(ScriptedEngine):
        async def stream(self, prompt, sampling):
            async for chunk in super().stream(prompt, sampling):
                doubtful = [t._replace(logprob=-9.0 if t.id == two else -0.1) for t in chunk.tokens]
                yield chunk.__class__(doubtful, chunk.finish, chunk.end_token, chunk.usage)

    student = Says([[one, two, three], [three]], qwen3, record=True)
    teacher = ScriptedEngine([[" TWO", " and more"]], qwen3, record=True)
    result = answer(Unlikely(-5.0), student, teacher)
    assert [(s.author, s.text) for s in result.segments][:3:2] == [("student", "one"), ("student", " three")]
    assert result.segments[1].author == "teacher" and len(result.segments[1].token_ids) == 2
    assert teacher.requests[0][0].continuation == "one"
    assert teacher.requests[0][1].max_tokens == 2
    again = student.requests[1][0].token_ids
    assert again is not None and two not in again[-4:]
    row = result.transcript.training_row()
    assert two not in row.token_ids, "the token that was not written is not trained on"
    assert (result.usage.calls, result.usage.command_tokens) == (1, 0)


def test_text_that_was_held_back_is_shown_when_a_call_opens(qwen3: Tokenizer) -> None:
    class Late(Decider):
        reads_tokens = True

        def before_token(self, candidate: Candidate) -> int:
            return 1 if candidate.position == 2 and candidate.token.text else 0

    class Third(Trigger):
        def decider(self, seed: int | None) -> Decider:
            return Late()

    student, teacher = ScriptedEngine(["<call", "b"], qwen3), ScriptedEngine("T", qwen3, record=True)
    assert len(qwen3.encode("<call")) == 2
    result = answer(Third(), student, ScriptedEngine("T", qwen3))
    assert result.text == "<call", "the student ended before its third token"
    student = ScriptedEngine([["<call", " and"], "b"], qwen3)
    result = answer(Third(), student, teacher)
    assert result.text == "<callTb"
    assert teacher.requests[0][0].continuation == "<call"


def test_a_candidates_position_counts_tokens_not_pieces_of_text() -> None:
    positions: list[int] = []

    class Watches(Decider):
        reads_tokens = True

        def before_token(self, candidate: Candidate) -> int:
            positions.append(candidate.position)
            return 0

    class Watch(Trigger):
        def decider(self, seed: int | None) -> Decider:
            return Watches()

    long = "x" * (LONGEST_TOKEN + 1)  # at least two tokens, in one piece of text without an id

    class TextOnly(ScriptedEngine):
        async def stream(self, prompt, sampling):
            yield Chunk([Token(None, long)])
            yield Chunk([Token(None, "y")], Finish.END)

    student = TextOnly("", None)
    assert answer(Watch(), student, ScriptedEngine("", None)).text == long + "y"
    assert positions == [0, 2]


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_budgets_hold_for_every_trigger(qwen3: Tokenizer, limit: int) -> None:
    student, teacher = ScriptedEngine("a b c d e f g", qwen3), ScriptedEngine("x", qwen3)
    result = answer(Chance(1.0, 5), student, teacher, max_calls=limit)
    assert result.usage.calls == limit
    assert result.text.startswith("x" * limit + "a")
    result = answer(Chance(1.0, 5), student, ScriptedEngine("vwxyz", None), max_teacher_tokens=limit)
    assert result.usage.teacher_tokens == limit


def test_chance_is_drawn_from_the_answers_seed(qwen3: Tokenizer) -> None:
    def text(seed: int) -> str:
        student = ScriptedEngine(lambda prompt: "a b c d e f g h"[2 * prompt.turn :], qwen3)
        return answer(Chance(0.3, 1), student, ScriptedEngine("x", qwen3), seed=seed, max_calls=6).text

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(8)}) > 1


def test_chance_opens_a_call_at_each_token_with_its_probability() -> None:
    decider = Chance(0.05, 1).decider(seed=1)
    calls = sum(decider.before_token(Candidate(Token(1, "a"), i)) for i in range(20_000))
    assert 900 < calls < 1100, "1,000 are expected, with a standard deviation of 31"


class Grows(ScriptedEngine):
    """Says the letters from a to z, and goes on in every turn after the last letter that stands there."""

    def __init__(self, tokenizer, doubtful: str = "", **options) -> None:
        def rest(prompt) -> Sequence[str | Doubt]:
            last = prompt.continuation[-1:] or "`"
            letters = [chr(c) for c in range(ord(last) + 1, ord("z") + 1)]
            return [Doubt(letter, 0.2) if letter in doubtful else letter for letter in letters]

        super().__init__(rest, tokenizer, logprob=-0.1, **options)


@pytest.mark.parametrize("ends_by_itself", [True, False])
@pytest.mark.parametrize("chunk", [1, 4, 30])
def test_uncertain_calls_in_place_of_a_doubtful_token(qwen3: Tokenizer, chunk: int, ends_by_itself: bool) -> None:
    student = Grows(qwen3, "dq", chunk=chunk, honour_stop=ends_by_itself, record=True)
    teacher = ScriptedEngine("de" * 3, None, record=True)
    result = answer(Uncertain(0.4, 2), student, teacher, max_calls=1)
    assert result.text == "abc" + "de" + "fghijklmnopqrstuvwxyz", "the budget spent, a doubtful token is written"
    assert [(c.requested, c.received) for c in result.calls] == [(2, 2)]
    assert teacher.requests[0][0].continuation == "abc"
    discarded = result.usage.discarded_tokens
    assert discarded == 1 if ends_by_itself or chunk == 1 else discarded >= 1
    assert student.requests[0][1].top_logprob and student.requests[0][1].halt is not None
    assert not student.requests[1][1].top_logprob and student.requests[1][1].halt is None
    assert "max_calls" in result.notes


def test_discarded_tokens_are_paid_for_and_are_in_no_other_count(qwen3: Tokenizer) -> None:
    prices = {"student_output": 1e6}
    student = Grows(qwen3, "d", chunk=8)
    result = answer(Uncertain(0.4, 2), student, ScriptedEngine("de", None), prices=prices)
    assert result.text == "abcdefghijklmnopqrstuvwxyz"
    assert result.usage.discarded_tokens == 5, "d to h"
    written = result.usage.student_tokens
    assert written == len(result.transcript.training_row().token_ids) - len(qwen3.encode("de"))
    assert result.cost == written + 5


@pytest.mark.parametrize("gap", [0, 1, 4])
@pytest.mark.parametrize("ends_by_itself", [True, False])
def test_no_second_call_within_the_gap(qwen3: Tokenizer, gap: int, ends_by_itself: bool) -> None:
    student = Grows(qwen3, "cdefghijk", honour_stop=ends_by_itself)
    teacher = ScriptedEngine(lambda prompt: chr(ord(prompt.continuation[-1]) + 1), qwen3)
    result = answer(Uncertain(0.4, 1, gap), student, teacher)
    letters = [s.text for s in result.segments if s.author == "teacher"]
    assert letters == list("cdefghijk")[:: gap + 1]
    assert result.text == "abcdefghijklmnopqrstuvwxyz"


def test_a_call_in_place_of_the_end(qwen3: Tokenizer) -> None:
    """A student that is not sure whether it is done asks the teacher; sure of it, it ends."""

    class Unsure(ScriptedEngine):
        async def stream(self, prompt, sampling):
            async for chunk in super().stream(prompt, sampling):
                end = chunk.end_token and chunk.end_token._replace(top_logprob=-3.0 if not prompt.turn else -0.1)
                yield Chunk(chunk.tokens, chunk.finish, end, chunk.usage)

    student, teacher = Unsure(["a", "b"], qwen3, logprob=-0.1), ScriptedEngine("x", qwen3)
    result = answer(Uncertain(0.4, 3), student, teacher)
    assert (result.text, result.usage.discarded_tokens, result.finish_reason) == ("axb", 1, "stop")
    assert qwen3.hf.eos_token_id == result.transcript.student_ids[-1]
    assert result.transcript.student_ids.count(qwen3.hf.eos_token_id) == 1


@pytest.mark.parametrize("trigger", [Uncertain(1.0, 3), Chance(1.0, 3)])
@pytest.mark.parametrize("reply", ["", EngineError("the server is down")])
def test_an_answer_ends_although_every_call_is_in_vain(qwen3: Tokenizer, trigger: Trigger, reply) -> None:
    """Before: an endless answer, since the student wrote no token between two calls."""
    student = ScriptedEngine(lambda prompt: "abcd"[len(prompt.continuation) :], qwen3, logprob=-1.0)
    result = answer(trigger, student, ScriptedEngine(lambda prompt: [reply], qwen3), max_calls=None)
    assert (result.text, result.finish_reason) == ("abcd", "stop")
    assert 0 < result.usage.calls <= 5
    assert result.usage.failed_calls == (result.usage.calls if reply else 0)


@pytest.mark.parametrize("p", [1.0, 0.3])
@pytest.mark.parametrize("ends_by_itself", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_a_call_opens_at_a_characters_end(qwen3, tiny, p: float, ends_by_itself: bool, shared: bool) -> None:
    """Before: a call inside a character gave the reader U+FFFD (6 of 128 answers of REAL.md)."""
    words = "𓀀😀नमस्ते中"
    ids = qwen3.encode(words)
    assert len(ids) > len(words), "several tokens a character"

    def rest(prompt):
        written = [i for i in prompt.token_ids if i in set(ids)]
        return ids[len(written) :]

    teacher = ScriptedEngine("x", qwen3 if shared else tiny, record=True)
    for seed in range(6):
        student = ScriptedEngine(rest, qwen3, honour_stop=ends_by_itself)
        result = answer(Chance(p, 1), student, teacher, seed=seed, max_calls=9)
        assert "\ufffd" not in result.text
        assert result.text.replace("x", "") == words
        assert result.usage.calls > 0
    assert all("\ufffd" not in prompt.text for prompt, _ in teacher.requests)


def test_a_command_that_ends_inside_a_character_waits_for_its_end(tiny: Tokenizer) -> None:
    """A vocabulary may have a token that holds `>` and the first bytes of a character."""
    command, emoji = tiny.encode("<call>1</call>"), tiny.encode("😀")
    assert len(emoji) > 1
    student = ScriptedEngine([[*command[:-1], command[-1]], "b"], tiny)
    assert answer(Commands(), student, ScriptedEngine("x", tiny)).text == "xb"

    class Odd(ScriptedEngine):
        async def stream(self, prompt, sampling):
            async for chunk in super().stream(prompt, sampling):
                if prompt.turn == 0 and chunk.tokens and chunk.tokens[-1].id == command[-1]:
                    yield Chunk([*chunk.tokens, Token(emoji[0], "")], Finish.STOP)  # as one token: `>` and a half
                    return
                yield chunk

    # The call opens behind the command; the half character that came in its chunk is dropped with the rest of it.
    assert answer(Commands(), Odd([command, "b"], tiny), ScriptedEngine("x", tiny)).text == "xb"


def test_a_student_that_gives_no_probabilities_is_refused_at_the_start(qwen3: Tokenizer) -> None:
    class Silent(ScriptedEngine):
        def __init__(self) -> None:
            super().__init__("a b c", qwen3, record=True)
            self.reports_top_logprob = False

    student = Silent()
    with pytest.raises(ConfigurationError, match=r"uncertain:0.4,8 needs .*scripted does not give.*transf"):
        answer(Uncertain(0.4, 8), student, ScriptedEngine("x", qwen3))
    assert student.requests == []
    late = ScriptedEngine("a b c", qwen3, record=True)  # says that it does, and does not
    with pytest.raises(ConfigurationError, match="does not give"):
        answer(Uncertain(0.4, 8), late, ScriptedEngine("x", qwen3))
    assert answer(Chance(0.5, 1), Silent(), ScriptedEngine("x", qwen3), seed=1).text


TEXTS = [
    "commands",
    "commands:100",
    "commands:rest",
    "commands:bias=-2",
    "commands:100,bias=0.5",
    "commands:rest,bias=-0.25",
    "uncertain:0.4,8",
    "uncertain:0.25,8,2",
    "chance:0.02,8",
    "never",
]


@pytest.mark.parametrize("text", TEXTS)
def test_triggers_are_read_from_strings_and_written_as_them(text: str) -> None:
    assert str(parse_trigger(text)) == text
    assert RelaySettings(trigger=text).trigger == parse_trigger(text) == parse_trigger(f" {text} ")


@pytest.mark.parametrize(
    "bad",
    ["", "comands", "commands:0", "commands:x", "commands:-2", "commands:bias=x", "commands:bias=nan",
     "commands:bias=101", "commands:bias=-2,100", "commands:1,2", "commands:bias=", "uncertain", "uncertain:0.4",
     "uncertain:1.4,8", "uncertain:0.4,0", "uncertain:0.4,8,-1", "uncertain:nan,8",
     "chance:0,8", "chance:0.1", "chance:0.1,8,9", "never:1", 7, None, True],
)  # fmt: skip
def test_a_bad_trigger_says_what_to_write(bad) -> None:
    with pytest.raises(ConfigurationError, match="write"):
        RelaySettings(trigger=bad)


def test_triggers_are_values() -> None:
    assert Commands() == Commands() and hash(Never()) == hash(Never()) and Commands() != Never()
    assert Uncertain(0.4, 8) == Uncertain(0.4, 8, 0) != Uncertain(0.4, 8, 1)
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        Commands().n = 3  # type: ignore[misc]
    assert Decider().before_token(Candidate(Token(1, "a"), 0)) == Decider().on_command(Call(3, "")) == 0
