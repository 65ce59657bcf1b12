"""One answer with everything that both engines were asked and said, and the check of the places where they meet."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core import Author, Engine, Finished, Prompt, Relay, RelayResult, TextDelta, portal
from relay_core.engines.base import Chunk
from testing.random_calls import CallsAtRandom
from testing.real_engines import Recorded
from testing.streams import text_of


@dataclass
class Answered:
    """``said_by_*``: each request's prompt, and what the engine delivered for it."""

    result: RelayResult
    deltas: list[TextDelta]
    said_by_student: list[tuple[Prompt, list[Chunk]]]
    said_by_teacher: list[tuple[Prompt, list[Chunk]]]
    student: Engine
    teacher: Engine


async def answered(
    student: Engine,
    teacher: Engine,
    messages: str | Sequence[Mapping[str, Any]],
    *,
    chance: float = 0.0,
    n: int = 4,
    seed: int = 0,
    **settings: Any,
) -> Answered:
    """One answer; with ``chance``, the student writes commands for ``n`` tokens at random places."""
    asked, called = Recorded(student), Recorded(teacher)
    relay = Relay(CallsAtRandom(asked, chance, n, seed) if chance else asked, called)
    deltas: list[TextDelta] = []
    async for event in relay.astream(messages, seed=seed, max_calls=None, **settings):
        if isinstance(event, TextDelta):
            deltas.append(event)
        elif isinstance(event, Finished):
            result = event.result
    return Answered(result, deltas, asked.requests, called.requests, student, teacher)


def all_of(answers: Iterable[Coroutine[Any, Any, Answered]]) -> list[Answered]:
    """All answers at once, on the background loop of the engines."""

    async def gathered() -> list[Answered]:
        return list(await asyncio.gather(*answers))

    return portal.run(gathered)


def same_text(a: str, b: str) -> bool:
    """Whether two texts are the same characters; some vocabularies (Qwen's) compose accents when they encode."""
    return unicodedata.normalize("NFC", a) == unicodedata.normalize("NFC", b)


def check_seams(answer: Answered) -> None:
    """Assert that no character is lost or doubled where one author ends and the other begins."""
    result = answer.result
    assert "".join(delta.text for delta in answer.deltas) == result.text
    assert "".join(s.text for s in result.segments if s.author is not Author.COMMAND) == result.text
    _check_prompts(answer.said_by_student, answer.student)
    _check_prompts(answer.said_by_teacher, answer.teacher)
    said = [(prompt, _text(chunks)) for prompt, chunks in answer.said_by_teacher]
    words = [text for _, text in said if text]
    assert words == [s.text for s in result.segments if s.author is Author.TEACHER and s.text]
    for prompt, text in said:
        place = len(prompt.continuation)
        assert result.text[:place] == prompt.continuation, "the teacher reads what the reader reads"
        assert result.text[place:].startswith(text)
    everything = "".join(segment.text for segment in result.segments)  # as the student sees it, commands included
    for prompt, _ in answer.said_by_student:
        assert everything.startswith(prompt.continuation)


def _check_prompts(requests: list[tuple[Prompt, list[Chunk]]], engine: Engine) -> None:
    """The prompts of one engine: ids only grow (a student's), and spell the prompt's text; a BOS token stands once."""
    tokenizer = engine.tokenizer
    if tokenizer is None:
        return
    for prompt, chunks in requests:
        if prompt.token_ids is not None:
            spelled = tokenizer.decode(prompt.token_ids, control=True)
            end = f"the ids spell …{spelled[-60:]!r}, the text ends in …{prompt.text[-60:]!r}"
            assert same_text(_plain(spelled), _plain(prompt.text)), end
        usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)
        ids = prompt.token_ids if engine.speaks_ids else None
        length = len(tokenizer.encode(prompt.text, begins=True)) if ids is None else len(ids)
        # a server that encodes the text itself may split other scripts otherwise (llama.cpp composes no accents)
        is_exact = ids is not None or prompt.text.isascii()
        if usage is not None and usage.prompt_tokens is not None and is_exact:
            counts = f"the engine read {usage.prompt_tokens} tokens (two BOS tokens?), not {length}"
            assert usage.prompt_tokens == length, f"{counts}: …{prompt.text[-300:]!r}"


def _plain(text: str) -> str:
    """Without what splits control tokens, and without half a character at the end, in which a call of n may end."""
    return text.replace("\u200b", "").rstrip("\ufffd")


def _text(chunks: Sequence[Chunk]) -> str:
    return "".join(text_of(chunk.tokens) for chunk in chunks)
