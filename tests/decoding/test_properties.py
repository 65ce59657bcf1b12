"""The ten properties of docs/method.md, over Qwen3's vocabulary; the tenth through the engines that need no server.

Every answer is played twice, the second time with the teacher warmed: it is the same, and all properties hold of it."""

import asyncio
import itertools
import re
import unicodedata
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import (
    Author,
    CallStarted,
    Chunk,
    Event,
    Finished,
    FinishReason,
    Prices,
    Prompt,
    Relay,
    RelayResult,
    ScriptedEngine,
    TextDelta,
)
from relay_core.chat import Conversation, render
from relay_core.engines.scripted import Delay
from relay_core.tokenizer import Tokenizer
from testing.grammar import ends_in_command, visible

COMMAND = re.compile(r"<call>((?:(?!</call>).){0,32})</call>", re.DOTALL)

# Words whose edges fall inside tokens with those of a command, halves of commands, and characters of many bytes.
WORDS = [
    "so", " ", "\n\n", ".", " <", "<", ">", "</", "call", "</call>", "<call>", "<ca", "3", "47", "é", "😀", "𓀀", "中",
    "<call>2</call>", "<call> 12 </call>", "<call>0</call>", "<call>abc</call>", "<call>-3</call>", "<call>1",
]  # fmt: skip
CALL = "<call>3</call>"
words = st.lists(st.sampled_from(WORDS), max_size=6).map("".join)
# Ids as they may be sampled, not as text is encoded: half characters, control tokens, anything. 151,645 ends an answer.
stray = st.lists(
    st.one_of(st.sampled_from([151_643, 151_644, 151_657, 124, 94, 10_145]), st.integers(0, 151_644)), max_size=2
)
parts = st.lists(st.one_of(words, stray), max_size=4)
turns = st.lists(st.tuples(parts, st.sampled_from([CALL, " " + CALL, "." + CALL + "\n\n", CALL + " <ca"])), max_size=2)
replies = st.lists(parts, min_size=2, max_size=2)


class Cut(ScriptedEngine):
    """A scripted engine whose tokens come in groups of these sizes, and the end by itself."""

    def __init__(self, *args, sizes: Sequence[int] = (1,), **options) -> None:
        super().__init__(*args, record=True, **options)
        self.sizes, self.said = sizes, ""

    async def stream(self, prompt, sampling):
        sizes, batch, self.said = itertools.cycle(self.sizes), [], ""
        size = next(sizes)
        async with aclosing(super().stream(prompt, sampling)) as chunks:
            async for chunk in chunks:
                for token in chunk.tokens:
                    batch.append(token)
                    if len(batch) >= size:
                        self.said += "".join(t.text for t in batch)
                        yield Chunk(tuple(batch))
                        batch, size = [], next(sizes)
                if chunk.finish is not None:
                    yield replace(chunk, tokens=tuple(batch))


@dataclass
class Played:
    student: Cut
    teacher: Cut
    events: list[Event]
    turns: list[list[int]]
    replies: list[list[int]]

    @property
    def result(self) -> RelayResult:
        assert isinstance(self.events[-1], Finished)
        return self.events[-1].result

    @property
    def asked(self) -> list[Prompt]:
        return [prompt for prompt, _ in self.student.requests]

    @property
    def called(self) -> list[Prompt]:
        """What the teacher was asked for every call; what was begun for nothing is not among it."""
        last = {prompt.turn: prompt for prompt, _ in self.teacher.requests}
        return [last[k] for k in range(len(self.result.calls))]

    def expected(self) -> tuple[str, list[str]]:
        """The reader's text, worked out another way; and what stood there before each call."""
        text, before, behind = "", [], False
        for k, prompt in enumerate(self.asked):
            session = said(self.student.tokenizer, prompt.token_ids, self.wrote(k))
            text += visible(session, behind_command=behind)
            behind = ends_in_command(session, behind_command=behind)
            if k < len(self.result.calls):
                before.append(text)
                asked = self.called[k].token_ids
                text += said(self.teacher.tokenizer, asked, self.replies[k][: self.result.calls[k].received])
        return text, before

    def wrote(self, k: int) -> list[int]:
        """The ids that the student sampled in its turn k, the end token left out."""
        row = self.result.transcript.training_row()
        edges = [len(p.token_ids) - len(row.prompt_ids) for p in self.asked] + [len(row.token_ids)]
        return [row.token_ids[i] for i in range(edges[k], edges[k + 1]) if row.mask[i]]


def said(tokenizer: Tokenizer, before: Sequence[int], ids: Sequence[int]) -> str:
    decoder = tokenizer.decoder(before)
    return "".join(decoder.step(i) for i in ids)


def spelt(tokenizer: Tokenizer, script: Sequence[str | list[int]]) -> list[int]:
    """Ids of a turn: words that stand together are encoded together."""
    ids: list[int] = []
    text = ""
    for part in [*script, []]:
        if isinstance(part, str):
            text += part
        else:
            ids += tokenizer.encode(text) + part
            text = ""
    return ids


async def collect(relay: Relay, prompt, options) -> list[Event]:
    return [event async for event in relay.astream(prompt, **options)]


def play(tokenizer, turns, replies, last=(), **options) -> Played:
    """An answer in which the student calls at the end of each of ``turns``, and ends with ``last``."""
    cold, warm = (played(tokenizer, turns, replies, last, warming=warming, **options) for warming in ("off", "on"))
    assert cold.called == [prompt for prompt, _ in cold.teacher.requests]
    assert cold.called == warm.called
    assert outcome(cold.result) == outcome(warm.result)
    return warm


def outcome(result: RelayResult) -> tuple:
    """All but the times, and what was wasted."""
    wasted = {"wasted_requests": 0, "wasted_prompt_tokens": 0, "wasted_cached_tokens": 0, "wasted_tokens": 0}
    calls = [replace(call, seconds=0) for call in result.calls]
    row, usage = result.transcript.training_row(), replace(result.usage, **wasted)
    return result.text, result.segments, row, usage, result.finish_reason, calls, result.notes


def played(tokenizer, turns, replies, last, *, sizes=(1,), teacher=None, prompt="Q", **options) -> Played:
    mine = [spelt(tokenizer, [*body, call]) for body, call in turns] + [spelt(tokenizer, last)]
    theirs = [spelt(teacher or tokenizer, reply) for reply in replies]
    engines = Cut(mine, tokenizer, sizes=sizes), Cut(theirs, teacher or tokenizer, sizes=sizes)
    options = {"on_teacher_stop": "continue", **options}
    events = asyncio.run(collect(Relay(*engines), prompt, options))
    empty: list[list[int]] = [[]] * len(engines[0].requests)  # what a script does not hold is an empty turn
    return Played(*engines, events, mine + empty, theirs + empty)


@given(turns=turns, replies=replies, last=parts)
def test_property_01_the_students_ids_only_grow(qwen3: Tokenizer, turns, replies, last) -> None:
    played = play(qwen3, turns, replies, last)
    row, calls = played.result.transcript.training_row(), played.result.calls
    prompts = [list(prompt.token_ids) for prompt in played.asked]
    assert list(row.prompt_ids) == prompts[0]
    whole = [*row.prompt_ids, *row.token_ids]
    for k, (before, after) in enumerate(pairwise([*prompts, whole])):
        assert after[: len(before)] == before
        came = calls[k].received if k < len(calls) else 0
        mine = after[len(before) : len(after) - came]
        sampled = [*played.turns[k], qwen3.hf.eos_token_id]
        assert mine == sampled[: len(mine)], "token in, token out"
        assert after[len(after) - came : len(after)] == played.replies[k][:came]


@given(turns=turns, replies=replies, last=parts, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_property_02_however_it_is_cut_the_transcript_is_the_same(
    qwen3: Tokenizer, turns, replies, last, sizes
) -> None:
    one, other = (play(qwen3, turns, replies, last, sizes=s).result for s in ((1,), tuple(sizes)))
    assert one.segments == other.segments
    assert one.transcript.training_row() == other.transcript.training_row()
    assert outcome(one) == outcome(other)


@given(turns=turns, replies=replies, last=parts, prefix=st.sampled_from(["", "So, ", "<tool_call>\n{"]))
def test_property_03_the_teacher_reads_its_template_and_the_readers_text(
    qwen3: Tokenizer, turns, replies, last, prefix
) -> None:
    played = play(qwen3, turns, replies, last, prefix=prefix)
    asked = render(qwen3, Conversation.of("Q")).text
    _, before = played.expected()
    shown = ""
    seen = iter(played.called)
    for event in played.events:
        if isinstance(event, TextDelta):
            shown += event.text
        elif isinstance(event, CallStarted):
            prompt = next(seen)
            assert prompt.text == asked + prefix + shown
            assert prompt.continuation == prefix + shown
            assert shown == before.pop(0), "no trace of a command, and nothing else is missing"
            assert nfc(qwen3.decode(prompt.token_ids, control=True)) == nfc(prompt.text)


def nfc(text: str) -> str:
    """Qwen's tokenizer composes characters (U+0301 after e is é): the one thing that re-encoding a seam may do."""
    return unicodedata.normalize("NFC", text)


@given(turns=turns, replies=replies, last=parts)
def test_property_04_the_reader_sees_no_command_nor_the_beginning_of_one(
    qwen3: Tokenizer, turns, replies, last
) -> None:
    played = play(qwen3, turns, replies, last)
    shown = "".join(event.text for event in played.events if isinstance(event, TextDelta))
    assert shown == played.result.text == played.expected()[0]


@given(script=parts, ends=st.sampled_from([CALL[i:] for i in range(len(CALL))]))
def test_property_04_what_may_yet_become_a_command_is_held_back(qwen3: Tokenizer, script, ends) -> None:
    student = Cut([spelt(qwen3, script)], qwen3)
    shown = ""

    async def watch() -> None:
        nonlocal shown
        async for event in Relay(student, None).astream("Q"):
            if isinstance(event, TextDelta) and student.active:
                shown += event.text
                assert visible(student.said + ends).startswith(shown)

    asyncio.run(watch())


@given(
    user=words,
    system=words,
    result=words,
    reply=words,
    last=st.sampled_from(["", "3</call>", "all>3</call>", "</call>"]),
)
def test_property_05_only_sampled_tokens_open_a_call(qwen3: Tokenizer, user, system, result, reply, last) -> None:
    prompt = [
        {"role": "system", "content": system + CALL},
        {"role": "user", "content": user + CALL},
        {"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f", "arguments": {"a": CALL}}}]},
        {"role": "tool", "content": result + CALL},
        {"role": "user", "content": "Q <call>"},
    ]
    script = [reply + CALL + "<call>"]
    call = ([], "<call>99</call>")
    played = play(qwen3, [call], [script], [last], prompt=prompt)
    usage = played.result.usage
    assert (usage.calls, usage.refused_calls, usage.malformed_calls) == (1, 0, last.count("</call>"))
    assert played.result.text == reply + CALL + "<call>" + last.replace("</call>", ""), "the teacher's words are text"
    for text in (system + CALL, user + CALL, result + CALL, "Q <call>"):
        assert text in played.asked[0].text
    marks = [i for i in played.asked[0].token_ids if i in qwen3.special_ids]
    assert len(marks) == 2 * 5 + 1


@given(turns=turns, replies=replies, last=parts)
def test_property_06_every_token_has_an_id_an_author_and_a_place_in_the_mask(
    qwen3: Tokenizer, turns, replies, last
) -> None:
    row = play(qwen3, turns, replies, last).result.transcript.training_row()
    lengths = {len(row.token_ids), len(row.mask), len(row.logprobs), len(row.authors)}
    assert len(lengths) == 1
    assert [m == 1 for m in row.mask] == [a is not Author.TEACHER for a in row.authors]


@pytest.mark.parametrize("shared", [True, False])
def test_property_06_the_mask_and_the_logprobs_in_both_kinds_of_vocabulary(qwen3, tiny, shared: bool) -> None:
    student = ScriptedEngine(["a<call>2</call>", "b"], qwen3, logprob=-0.5)
    teacher = ScriptedEngine("é x", qwen3 if shared else tiny, logprob=-0.25)
    result = Relay(student, teacher).generate("Q", on_teacher_stop="continue")
    row = result.transcript.training_row()
    theirs = [(i, p) for i, p, m in zip(row.token_ids, row.logprobs, row.mask, strict=True) if not m]
    words = next(s for s in result.segments if s.author == "teacher").text
    assert [i for i, _ in theirs] == qwen3.encode(words)
    assert {p for _, p in theirs} == ({-0.25} if shared else {None}), "a token of ours was not sampled by the teacher"
    assert {p for p, m in zip(row.logprobs, row.mask, strict=True) if m} == {-0.5}


maybe = st.one_of(st.none(), st.integers(1, 6))


@given(
    turns=turns, replies=replies, last=parts, max_tokens=st.integers(1, 40), max_calls=maybe, call=maybe, more=maybe,
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
)  # fmt: skip
def test_property_07_no_budget_is_exceeded(
    qwen3: Tokenizer, turns, replies, last, max_tokens, max_calls, call, more, sizes
) -> None:
    in_all = None if more is None else more + (call or 0)
    budgets = {"max_calls": max_calls, "max_call_tokens": call, "max_teacher_tokens": in_all}
    result = play(qwen3, turns, replies, last, sizes=sizes, max_tokens=max_tokens, **budgets).result
    usage = result.usage
    assert usage.completion_tokens == len(result.transcript.training_row().token_ids) <= max_tokens
    assert usage.calls <= (max_calls if max_calls is not None else usage.calls)
    assert usage.teacher_tokens <= (in_all if in_all is not None else usage.teacher_tokens)
    assert all(c.received <= min(c.requested, call or c.requested) for c in result.calls)
    commands = [s for s in result.segments if s.author == "command"]
    assert usage.calls + usage.refused_calls + usage.malformed_calls == len(commands)
    if usage.completion_tokens < max_tokens:
        assert result.finish_reason is FinishReason.STOP, "a refused call does not end the answer"


@pytest.mark.parametrize("warming", ["off", "on"])
@pytest.mark.parametrize("slow", ["student", "teacher"])
def test_property_07_no_second_over_the_deadline(qwen3: Tokenizer, timeless, slow: str, warming: str) -> None:
    pause = {slow: [Delay(3.0)]}
    student = ScriptedEngine([["a", *pause.get("student", []), CALL]] * 5, qwen3)
    teacher = ScriptedEngine([["x", *pause.get("teacher", []), "y"]] * 5, qwen3)
    options = {"deadline_s": 10.0, "on_teacher_stop": "continue", "warming": warming}

    async def timed() -> tuple[RelayResult, float]:
        result = await Relay(student, teacher).agenerate("Q", **options)
        return result, asyncio.get_running_loop().time()

    result, seconds = timeless(timed())
    assert (result.finish_reason, seconds) == (FinishReason.DEADLINE, pytest.approx(10.0))
    assert result.text.count("a") == 4


@given(turns=turns, replies=replies, last=parts)
def test_property_08_usage_adds_up(qwen3: Tokenizer, turns, replies, last) -> None:
    prices = Prices(student_input=1, student_output=2, teacher_input=3, teacher_output=4)
    played = play(qwen3, turns, replies, last, prices=prices)
    result, usage = played.result, played.result.usage
    for author in Author:
        tokens = sum(s.tokens for s in result.segments if s.author is author)
        ids = sum(len(s.token_ids) for s in result.segments if s.author is author)
        assert tokens == ids == getattr(usage, f"{author}_tokens")
    assert usage.teacher_tokens == sum(c.received for c in result.calls)
    assert usage.calls == len(result.calls) == len(played.teacher.requests) - usage.wasted_requests
    read = [sum(len(p.token_ids) for p, _ in e.requests) for e in (played.student, played.teacher)]
    assert [usage.student_prompt_tokens, usage.teacher_prompt_tokens + usage.wasted_prompt_tokens] == read
    assert usage.teacher_prompt_tokens == sum(len(p.token_ids) for p in played.called)
    assert usage.prompt_tokens == len(played.asked[0].token_ids)
    wrote, theirs = usage.student_tokens + usage.command_tokens, usage.teacher_tokens + usage.wasted_tokens
    assert result.cost == pytest.approx((read[0] + 2 * wrote + 3 * read[1] + 4 * theirs) / 1e6)


@given(turns=turns, replies=replies, last=parts)
def test_property_09_models_with_other_vocabularies_exchange_text_and_encode_only_new_text(
    qwen3: Tokenizer, tiny: Tokenizer, turns, replies, last
) -> None:
    known = [[part for part in reply if isinstance(part, str)] for reply in replies]
    played = play(qwen3, turns, known, last, teacher=tiny)
    grown: list[int] = []
    for k, prompt in enumerate(played.called):
        assert list(prompt.token_ids[: len(grown)]) == grown, "what was encoded once stays"
        assert tiny.decode(prompt.token_ids, control=True) == prompt.text
        grown = list(prompt.token_ids)
        if k + 1 < len(played.asked):
            came = said(tiny, prompt.token_ids, played.replies[k][: played.result.calls[k].received])
            new = played.asked[k + 1].token_ids[len(played.asked[k].token_ids) :]
            assert list(new) == [*played.wrote(k), *qwen3.encode(came)]


def test_property_09_ids_travel_untouched_between_equal_vocabularies_whatever_their_names(qwen3: Tokenizer) -> None:
    twin = Tokenizer(qwen3.hf, "a twin with another name")
    odd = [*qwen3.encode("4"), *qwen3.encode("f"), *qwen3.encode("o"), *qwen3.encode("o")]
    student = Cut([[*odd, CALL], [*odd, CALL], "end"], qwen3)
    teacher = Cut([odd[1:], odd[2:]], twin)
    result = Relay(student, teacher).generate("Q", on_teacher_stop="continue")
    first, second = (list(p.token_ids) for p, _ in teacher.requests)
    assert first[-4:] == odd
    assert second == [*first, *odd[1:], *odd]
    assert list(student.requests[1][0].token_ids)[-3:] == odd[1:]
    assert result.text == "4foofoo4foooo" + "end"


# -- the tenth: a small model that was taught one answer by heart, plain forward passes against the engine -------------

QUESTION, KNOWS = "47 * 6?", "so 47 * 6 = <call>3</call>"


def memorized(tokenizer: Tokenizer, answer: list[int], seed: int):
    """A tiny Qwen3 in float32 that says ``answer`` to the question."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer.hf), hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, pad_token_id=None,
        bos_token_id=None, eos_token_id=tokenizer.hf.eos_token_id,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    ids = torch.tensor([render(tokenizer, Conversation.of(QUESTION)).token_ids + answer])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model.eval()


def by_hand(student, teacher, tokenizer: Tokenizer, most: int) -> tuple[list[int], list[int]]:
    """The loop at its plainest: the answer's ids, and the mask; every token is a forward pass over everything."""
    import torch

    def after(model, ids: list[int]) -> int:
        with torch.no_grad():
            return int(model(torch.tensor([ids])).logits[0, -1].argmax())

    asked = render(tokenizer, Conversation.of(QUESTION)).token_ids
    ids, mask, reader, end = [], [], list[int](), tokenizer.hf.eos_token_id
    while len(ids) < most and end not in ids:
        ids, mask = [*ids, after(student, asked + ids)], [*mask, 1]
        text = tokenizer.decode(ids)
        command = COMMAND.search(text)
        if command is None or 0 in mask:
            continue
        first = next(k for k in range(len(ids)) if len(tokenizer.decode(ids[: k + 1])) > command.start())
        seam = text[len(tokenizer.decode(ids[:first])) : command.start()] + text[command.end() :]
        reader = ids[:first] + tokenizer.encode(seam)
        for _ in range(min(int(command[1]), most - len(ids))):
            token = after(teacher, asked + reader)
            ids, mask, reader = [*ids, token], [*mask, 0], [*reader, token]
    return ids, mask


@pytest.mark.timeout(600)
def test_property_10_the_engine_writes_the_tokens_of_plain_forward_passes(tiny: Tokenizer) -> None:
    from relay_core import TransformersEngine

    words = tiny.encode("282 and then")
    student = memorized(tiny, [*tiny.encode(KNOWS), *words[:3], *tiny.encode(". Done."), tiny.hf.eos_token_id], seed=0)
    teacher = memorized(tiny, [*tiny.encode("so 47 * 6 = "), *words], seed=1)
    ids, mask = by_hand(student, teacher, tiny, most=60)
    assert 0 in mask, "the student has learnt to call"

    async def through_the_engine() -> RelayResult:
        engines = [TransformersEngine(m, tiny, cache_tokens=1024) for m in (student, teacher)]
        try:
            return await Relay(*engines).agenerate(QUESTION, max_tokens=60, max_calls=1)
        finally:
            for engine in engines:
                await engine.aclose()

    row = asyncio.run(through_the_engine()).transcript.training_row()
    assert (list(row.token_ids), list(row.mask)) == (ids, mask)
