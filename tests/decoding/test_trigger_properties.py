"""The properties of DESIGN.md under every trigger. test_properties.py has them for commands alone, in more depth."""

import asyncio
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relay_core import (
    Author,
    CallStarted,
    Chance,
    Commands,
    Event,
    Finished,
    Hidden,
    Never,
    Prices,
    Relay,
    RelayResult,
    ScriptedEngine,
    TextDelta,
    Uncertain,
)
from relay_core.chat import Conversation, render
from relay_core.engines.scripted import Doubt
from relay_core.tokenizer import Tokenizer

WORDS = ["so", " ", "\n\n", ".", " <", "<ca", "47", "é", "😀", "𓀀", "中", "नमस्ते", "<call>2</call>", "<call>abc</call>"]
TRIGGERS = [
    Commands(), Commands(3), Commands("rest"), Uncertain(0.4, 2), Uncertain(0.4, 2, 3), Hidden("head", 0.6, 2),
    Chance(0.3, 2), Chance(1, 1), Never(),
]  # fmt: skip

text = st.lists(st.sampled_from(WORDS), max_size=5).map("".join)
turn = st.lists(st.one_of(text, text.map(lambda words: Doubt(words, 0.2))), max_size=4)
maybe = st.one_of(st.none(), st.integers(1, 6))
scripts = st.fixed_dictionaries(
    {
        "turns": st.lists(turn, min_size=1, max_size=4),
        "replies": st.lists(text, min_size=1, max_size=4),
        "trigger": st.sampled_from(TRIGGERS),
        "seed": st.integers(0, 99),
        "max_tokens": st.integers(1, 40),
        "max_calls": maybe,
        "max_call_tokens": maybe,
        "calls": st.sampled_from([True, True, True, False]),
    }
)


class Played:
    """An answer with its events, and the engines that recorded its requests."""

    def __init__(
        self, tokenizer: Tokenizer, script: dict[str, Any], *, other: Tokenizer | None = None, chunk: int = 1,
        ends_by_itself: bool = True,
    ) -> None:  # fmt: skip
        options = dict(script)
        turns, replies = options.pop("turns"), options.pop("replies")
        self.student = ScriptedEngine(
            turns, tokenizer, chunk=chunk, honour_stop=ends_by_itself, logprob=-0.1, record=True
        )
        self.teacher = ScriptedEngine(replies, other or tokenizer, record=True)
        prices = Prices(student_input=1, student_output=2, teacher_input=3, teacher_output=4)
        options |= {"on_teacher_stop": "continue", "prices": prices}

        async def collect() -> list[Event]:
            return [event async for event in Relay(self.student, self.teacher).astream("Q", **options)]

        self.events = asyncio.run(collect())
        assert isinstance(self.events[-1], Finished)
        self.result: RelayResult = self.events[-1].result


@given(script=scripts)
def test_the_students_ids_only_grow(qwen3: Tokenizer, script) -> None:
    played = Played(qwen3, script)
    row = played.result.transcript.training_row()
    prompts = [list(prompt.token_ids) for prompt, _ in played.student.requests]
    for before, after in pairwise([*prompts, [*row.prompt_ids, *row.token_ids]]):
        assert after[: len(before)] == before


@given(script=scripts, chunk=st.integers(2, 9), ends_by_itself=st.booleans())
def test_however_it_is_cut_the_transcript_is_the_same(qwen3: Tokenizer, script, chunk: int, ends_by_itself) -> None:
    one, other = (Played(qwen3, script, chunk=n, ends_by_itself=ends_by_itself).result for n in (1, chunk))
    assert one.segments == other.segments
    assert one.transcript.training_row() == other.transcript.training_row()
    assert (one.finish_reason, one.notes) == (other.finish_reason, other.notes)
    if ends_by_itself:
        assert replace(one.usage, student_prompt_tokens=0) == replace(other.usage, student_prompt_tokens=0)


@given(script=scripts, shared=st.booleans())
def test_the_teacher_reads_its_template_and_the_readers_text(
    qwen3: Tokenizer, tiny: Tokenizer, script, shared: bool
) -> None:
    other = qwen3 if shared else tiny
    played = Played(qwen3, script, other=other)
    asked, shown = render(other, Conversation.of("Q")).text, ""
    requests = iter(played.teacher.requests)
    for event in played.events:
        if isinstance(event, TextDelta):
            shown += event.text
        elif isinstance(event, CallStarted):
            prompt, _ = next(requests)
            assert (prompt.text, prompt.continuation) == (asked + shown, shown)
    assert shown == played.result.text == "".join(s.text for s in played.result.segments if s.author != "command")


@given(script=scripts)
def test_no_reader_sees_a_command_or_half_a_character(qwen3: Tokenizer, script) -> None:
    result = Played(qwen3, script).result
    for segment in result.segments:
        if segment.author is Author.STUDENT:
            assert not re.search(r"<call>(?:(?!</call>).){0,32}</call>", segment.text)
    if result.finish_reason != "length" and all(call.received == call.requested for call in result.calls):
        assert "\ufffd" not in result.text
    assert all("\ufffd" not in prompt.text for prompt, _ in Played(qwen3, {**script, "max_call_tokens": None,
        "replies": ["x"] * 4}).teacher.requests)  # fmt: skip


@given(script=scripts)
def test_no_budget_is_exceeded_and_usage_adds_up(qwen3: Tokenizer, script) -> None:
    played = Played(qwen3, script)
    result, usage = played.result, played.result.usage
    assert usage.completion_tokens == len(result.transcript.training_row().token_ids) <= script["max_tokens"]
    assert usage.calls == len(result.calls) == len(played.teacher.requests)
    if not script["calls"]:
        assert usage.calls == 0
    if script["max_calls"] is not None:
        assert usage.calls <= script["max_calls"]
    for call in result.calls:
        assert call.received <= min(call.requested, script["max_call_tokens"] or call.requested)
    for author in Author:
        ids = [i for s in result.segments if s.author is author for i in s.token_ids]
        assert len(ids) == sum(s.tokens for s in result.segments if s.author is author)
        assert len(ids) == getattr(usage, f"{author}_tokens")
    row = result.transcript.training_row()
    assert len(row.token_ids) == len(row.mask) == len(row.logprobs) == len(row.authors)
    assert [m == 1 for m in row.mask] == [a is not Author.TEACHER for a in row.authors]
    read = [sum(len(p.token_ids) for p, _ in e.requests) for e in (played.student, played.teacher)]
    wrote = usage.student_tokens + usage.command_tokens + usage.discarded_tokens
    assert result.cost * 1e6 == round(read[0] + 2 * wrote + 3 * read[1] + 4 * usage.teacher_tokens)


@given(script=scripts)
def test_an_answer_is_repeatable(qwen3: Tokenizer, script) -> None:
    one, other = Played(qwen3, script).result, Played(qwen3, script).result
    assert (one.text, one.usage, one.segments) == (other.text, other.usage, other.segments)
