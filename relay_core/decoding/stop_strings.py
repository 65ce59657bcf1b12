"""Stop strings in the reader's text: the text is cut at the beginning of the first stop string.

Text that may be the beginning of a stop string is held back until it is certain whether it is one.
"""

from __future__ import annotations

from relay_core.events import TextDelta


class StopFilter:
    """Returns the deltas that may be shown, and holds back text that may be the beginning of a stop string.

    ``hit`` is the stop string that was found; ``None`` until then. ``kept`` is the number of characters returned so
    far; after a hit, it is the length of the reader's text before the stop string.
    """

    __slots__ = ("_held", "_stops", "hit", "kept")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held: list[TextDelta] = []
        self.hit: str | None = None
        self.kept = 0

    def feed(self, delta: TextDelta) -> list[TextDelta]:
        """Add the next delta; returns the deltas that may be shown now."""
        if not self._stops:
            return [delta]
        if self.hit is not None:
            return []
        self._held.append(delta)
        text = "".join(d.text for d in self._held)
        matches = [(start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        if matches:  # choose the match that ends first, so that the result does not depend on the chunks
            _, start, self.hit = min(matches)
            return self._release(start)
        partial = max((n for stop in self._stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        return self._release(len(text) - partial)

    def pass_by(self, delta: TextDelta) -> list[TextDelta]:
        """Add a delta that is not searched for stop strings: a tool call that the server has parsed.

        Returns the held text, which is now known to be ordinary text, and the whole delta.
        """
        if self.hit is not None:
            return []
        held = self.flush()
        self.kept += len(delta.text)
        return [*held, delta]

    def flush(self) -> list[TextDelta]:
        """End the text; returns the held text, which is now known to be ordinary text."""
        if self.hit is not None:
            return []
        return self._release(sum(len(d.text) for d in self._held))

    def _release(self, chars: int) -> list[TextDelta]:
        """Return the first ``chars`` held characters. If this cuts a delta, its ids stay with its second part."""
        out: list[TextDelta] = []
        self.kept += chars
        while self._held and chars >= len(self._held[0].text) and (chars or self.hit is None):
            delta = self._held.pop(0)
            chars -= len(delta.text)
            out.append(delta)
        if chars:
            delta = self._held[0]
            out.append(TextDelta(delta.author, delta.text[:chars]))
            self._held[0] = TextDelta(delta.author, delta.text[chars:], delta.token_ids)
        return out


def coalesce(deltas: list[TextDelta]) -> list[TextDelta]:
    """Join adjacent deltas by the same author."""
    if len(deltas) < 2:
        return deltas
    out: list[TextDelta] = []
    for delta in deltas:
        if out and out[-1].author is delta.author:
            out[-1] = TextDelta(delta.author, out[-1].text + delta.text, out[-1].token_ids + delta.token_ids)
        else:
            out.append(delta)
    return out
