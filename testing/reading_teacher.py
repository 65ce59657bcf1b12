"""Scripted models for guided warm-up: a student that goes on from what stands there, and a teacher that reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay_core.engines.base import Prompt
from relay_core.engines.scores import Scores
from relay_core.engines.scripted import Script, ScriptedEngine, Turn
from relay_core.tokenizer import Tokenizer


def follows(turns: Mapping[str, str]) -> Script:
    """A script that goes on by what stands in the answer so far."""

    def script(prompt: Prompt) -> Turn:
        return turns[prompt.continuation]

    return script


class ReadingTeacher(ScriptedEngine):
    """A scripted teacher that scores a text.

    Args:
        script: what it writes.
        tokenizer: its vocabulary.
        objects: for a text, its beginnings behind which it objects to the next token (or to the end), by 9 nats.

    ``read_texts`` holds what it was given to read.
    """

    def __init__(self, script: Script, tokenizer: Tokenizer, objects: Mapping[str, Sequence[str]]) -> None:
        super().__init__(script, tokenizer, record=True)
        self._words, self._objects = tokenizer, objects
        self.read_texts: list[str] = []

    async def scores(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Scores:
        text = self._words.decode(ids)
        self.read_texts.append(text)
        beginnings = [self._words.decode(ids[:i]) for i in range(len(ids) + 1)]
        *gaps, end_gap = [9.0 * (beginning in self._objects.get(text, ())) for beginning in beginnings]
        return Scores([-gap for gap in gaps], [0.0] * len(gaps), end_gap)
