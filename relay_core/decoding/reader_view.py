"""The reader's text as token ids in one model's vocabulary: what stands behind the teacher's own template."""

from __future__ import annotations

from collections.abc import Callable

from relay_core.transcript import Transcript


class ReaderView:
    """The reader's text as ids, grown as the transcript grows.

    Where the transcript's ids are of the model's vocabulary, the ids of tokens that are visible whole are taken as
    they are, and only the text that a command left of its first and last token is encoded. Otherwise the new text is
    encoded; so it is where the ids would spell anything but the reader's text (a character split by a command, a
    control token). Ids that were returned once never change, so the model's prefix cache stays valid.

    Args:
        encode: the model's tokenizer, for text.
        spells: whether ids of the model's vocabulary spell exactly a text; ``None`` where the transcript's ids are
            of another vocabulary.
        prefix: text before the answer.
    """

    __slots__ = ("_encode", "_seen", "_spells", "ids")

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        spells: Callable[[list[int], str], bool] | None,
        prefix: str = "",
    ) -> None:
        self._encode, self._spells = encode, spells
        self._seen = 0
        self.ids: list[int] = encode(prefix) if prefix else []

    def update(self, transcript: Transcript) -> list[int]:
        """Take in everything that was added since the last update; returns all ids so far."""
        self.ids += self._new(transcript)
        self._seen = len(transcript)
        return self.ids

    def foresee(self, transcript: Transcript, end: int) -> list[int]:
        """What :meth:`update` would return if the transcript ended before character ``end`` of the student's stream."""
        return self.ids + self._new(transcript, end)

    def _new(self, transcript: Transcript, end: int | None = None) -> list[int]:
        text = transcript.visible_text(self._seen, end)
        if not text:
            return []
        if self._spells is not None and self._spells(ids := self._untouched(transcript, end), text):
            return ids
        return self._encode(text)

    def _untouched(self, transcript: Transcript, end: int | None) -> list[int]:
        ids: list[int] = []
        seam = ""
        for piece in transcript.visible(self._seen, end):
            if isinstance(piece, str):
                seam += piece
                continue
            if seam:
                ids += self._encode(seam)
                seam = ""
            ids.append(piece)
        return ids + self._encode(seam) if seam else ids
