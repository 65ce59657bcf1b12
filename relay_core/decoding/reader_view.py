"""The reader's text as token ids in one model's vocabulary: the part of the teacher's prompt after the messages."""

from __future__ import annotations

from collections.abc import Callable

from relay_core.transcript import Transcript


class ReaderView:
    """The reader's text as ids. Each update adds the ids of the text that was written since the last one.

    If the transcript's ids belong to the model's vocabulary, the ids of tokens that contain no part of a command are
    used unchanged. Only the remaining text of a command's first and last token is encoded. If the ids belong to another
    vocabulary, or do not spell the reader's text exactly (because a command splits a character, or because of a control
    token), all of the new text is encoded. Ids that have been returned never change, so the model's prefix cache stays
    valid.

    Args:
        encode: encodes text in the model's vocabulary.
        spells: returns whether ids of the model's vocabulary spell a text exactly; ``None`` if the transcript's ids
            belong to another vocabulary.
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
        self._seen = 0  # entries of the transcript whose text is in ``ids``
        self.ids: list[int] = encode(prefix) if prefix else []

    def update(self, transcript: Transcript) -> list[int]:
        """Add the text that was written since the last update; returns all ids so far."""
        self.ids += self._new(transcript)
        self._seen = len(transcript)
        return self.ids

    def foresee(self, transcript: Transcript, end: int) -> list[int]:
        """The ids that :meth:`update` would return if the transcript ended before the student's character ``end``."""
        return self.ids + self._new(transcript, end)

    def _new(self, transcript: Transcript, end: int | None = None) -> list[int]:
        """The ids of the text since the last update, up to the student's character ``end``."""
        text = transcript.visible_text(self._seen, end)
        if not text:
            return []
        if self._spells is not None and self._spells(ids := self._sampled_ids(transcript, end), text):
            return ids
        return self._encode(text)

    def _sampled_ids(self, transcript: Transcript, end: int | None) -> list[int]:
        """The new ids as they were sampled; only text that is not a whole token is encoded."""
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
