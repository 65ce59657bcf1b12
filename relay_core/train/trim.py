"""Shortens the calls of an answer: what the student would have written itself at the end of a call becomes its own.

A call of a fixed number of tokens often brings more than was needed, such as `282. Now` where only the product was
missing. The student reads the answer in one forward pass. The last tokens of a call become the student's if each of
them is the student's likeliest token. The text does not change, nothing is sampled, and n falls to what was needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from relay_core.evaluate.objections import texts_of
from relay_core.tokenizer import Tokenizer
from relay_core.train.places import can_open, whole
from relay_core.train.replay import Draft, Opened


def trimmed(draft: Draft, gaps: Sequence[float], student: Tokenizer, teacher: Tokenizer) -> Draft:
    """The answer with shorter calls; each keeps at least one token.

    Args:
        draft: the answer.
        gaps: for each of its ids (:func:`~relay_core.train.places.whole`), how much less likely the student finds it
            than its likeliest token there, in nats.
        student, teacher: the tokenizers.
    """
    ids, _ = whole(draft)
    texts = texts_of(student, draft.prompt_ids, ids)
    own: list[int] = []
    calls: list[Opened] = []
    begin = 0
    for written, call in draft.parts():
        own += written
        begin += len(written)
        if call is None:
            continue
        end = begin + len(call.words)
        least = max((i for i in range(begin, end) if gaps[i] > 0), default=begin) + 1
        ends = _ends(call, teacher)  # of the teacher's tokens, in characters of the call
        words, tokens = len(call.words), len(call.ids)
        for place in range(least, end):
            length = len("".join(texts[begin:place]))
            if length in ends and can_open(place, ids, texts, student):
                words, tokens = place - begin, ends[length]
                break
        calls.append(Opened(len(own), call.ids[:tokens], call.words[:words]))
        own += call.words[words:]
        begin = end
    return replace(draft, own=tuple(own), calls=tuple(calls))


def _ends(call: Opened, teacher: Tokenizer) -> dict[int, int]:
    """The number of characters at which each token of the call ends, and how many tokens that are."""
    ends: dict[int, int] = {}
    for n, length in enumerate(accumulate(map(len, texts_of(teacher, teacher.encode("a"), call.ids))), 1):
        ends.setdefault(length, n)
    return ends
