"""Triggers: the two that ship, and two written here, which show that the protocol carries more than commands."""

import asyncio
import random
from dataclasses import FrozenInstanceError, dataclass

import pytest

from relay_core import RelayResult, RelaySettings, ScriptedEngine
from relay_core.chat import Conversation
from relay_core.command import Call
from relay_core.decoding.loop import Answer
from relay_core.decoding.prompts import Prompts
from relay_core.decoding.triggers import Candidate, Commands, Decider, Never, Trigger
from relay_core.engines.base import Chunk, Finish, Token
from relay_core.events import Finished
from relay_core.tokenizer import Tokenizer
from relay_core.transcript import LONGEST_TOKEN


@dataclass(frozen=True)
class Chance(Trigger):
    """Calls in place of a token with probability ``p``, for ``n`` tokens, drawn from the answer's seed."""

    p: float
    n: int

    def decider(self, seed: int | None) -> Decider:
        return Draws(self, random.Random(seed))


class Draws(Decider):
    reads_tokens = True

    def __init__(self, chance: Chance, rng: random.Random) -> None:
        self.chance, self.rng = chance, rng

    def before_token(self, candidate: Candidate) -> int:
        return self.chance.n if self.rng.random() < self.chance.p else 0


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


@dataclass(frozen=True)
class Fixed(Trigger):
    """Every command asks for ``n`` tokens, whatever the student wrote (the paper's Fixed-n)."""

    n: int

    def decider(self, seed: int | None) -> Decider:
        return AlwaysAsks(self.n)


class AlwaysAsks(Decider):
    reads_commands = True

    def __init__(self, n: int) -> None:
        self.n = n

    def on_command(self, command: Call) -> int:
        return self.n


def answer(trigger: Trigger | None, student: ScriptedEngine, teacher: ScriptedEngine, **settings) -> RelayResult:
    async def run() -> RelayResult:
        options = RelaySettings(**{"on_teacher_stop": "continue", **settings})
        prompts = await Prompts.render(student, teacher, Conversation.of("Q"))
        events = Answer(student, teacher, prompts, options, trigger).run()
        [result] = [event.result async for event in events if isinstance(event, Finished)]
        return result

    return asyncio.run(run())


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
def test_the_setting_calls_names_the_trigger(qwen3: Tokenizer, calls: bool) -> None:
    results = [
        answer(trigger, ScriptedEngine(["a<call>1</call>", "b"], qwen3), ScriptedEngine("x", qwen3), calls=calls)
        for trigger in (None, Commands() if calls else Never())
    ]
    assert results[0].segments == results[1].segments
    assert results[0].usage == results[1].usage


def test_a_trigger_may_replace_the_number_in_a_command(qwen3: Tokenizer) -> None:
    student, teacher = ScriptedEngine(["a<call>9</call>", "b"], qwen3), ScriptedEngine("vwxyz", None)
    result = answer(Fixed(3), student, teacher)
    assert (result.text, result.calls[0].requested, result.usage.command_tokens > 0) == ("avwxb", 3, True)


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
            return 1 if candidate.position == 2 else 0

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


def test_triggers_are_values() -> None:
    assert Commands() == Commands() and hash(Never()) == hash(Never()) and Commands() != Never()
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        Commands().n = 3  # type: ignore[attr-defined]
    assert Decider().before_token(Candidate(Token(1, "a"), 0)) == Decider().on_command(Call(3, "")) == 0
