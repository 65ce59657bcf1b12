"""Where in an answer of the student a call should open: before the first token that the teacher would hardly have
written.

A call opens at the end of a character, and never within a number: the student cannot know that the first digit of its
result was right and the second is not, so the teacher writes the number from its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from relay_core.evaluate.objections import texts_of
from relay_core.tokenizer import Tokenizer
from relay_core.train.replay import Draft

_NUMBER_GOES_ON = re.compile(r"[.,]?\d")


def whole(draft: Draft) -> tuple[list[int], list[bool]]:
    """The answer's ids in the student's vocabulary, with the teacher's words, and which of them the student wrote."""
    ids: list[int] = []
    is_own: list[bool] = []
    for own, call in draft.parts():
        words = () if call is None else call.words
        ids += [*own, *words]
        is_own += [True] * len(own) + [False] * len(words)
    return ids, is_own


def places(draft: Draft, nats: Sequence[float], tokenizer: Tokenizer, *, margin: float) -> Iterator[int]:
    """The places for one more call, from the first on.

    Args:
        draft: the answer.
        nats: the teacher's objection to each of the answer's ids (:func:`whole`).
        tokenizer: the student's.
        margin: an objection must be greater than this.

    Yields:
        The number of the student's tokens before a place. It is the place of the latest call if the first word behind
        that call should have been the teacher's, too.
    """
    ids, is_own = whole(draft)
    texts = texts_of(tokenizer, draft.prompt_ids, ids)
    first = max((i + 1 for i, own in enumerate(is_own) if not own), default=0)
    latest = -1
    for i in range(first, len(ids)):
        if nats[i] > margin:
            place = i
            while place > first and not can_open(place, ids, texts, tokenizer):
                place -= 1
            if place > latest:
                latest = place
                yield sum(is_own[:place])


def can_open(place: int, ids: Sequence[int], texts: Sequence[str], tokenizer: Tokenizer) -> bool:
    """Whether a call can open before token number ``place``."""
    if tokenizer.ends_in_character(ids[:place]):
        return False
    before = "".join(texts[max(0, place - 32) : place])
    after = "".join(texts[place : place + 2])  # a point may be a token
    number = before[len(before.rstrip("0123456789.,")) :]
    return not (any(map(str.isdigit, number)) and _NUMBER_GOES_ON.match(after))
