"""Stop strings in the reader's text: text that may become one is held back; the text is cut where one begins."""

from __future__ import annotations

from relay_core.events import TextDelta


class StopFilter:
    """Passes deltas on, and holds back text that may be the beginning of a stop string.

    ``hit`` is the stop string that was met, ``None`` until then. ``kept`` is the number of characters that were passed
    on: the length of the reader's text before the stop string.
    """

    __slots__ = ("_held", "_stops", "hit", "kept")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held: list[TextDelta] = []
        self.hit: str | None = None
        self.kept = 0

    def feed(self, delta: TextDelta) -> list[TextDelta]:
        """Take the next delta; return the deltas that may be shown."""
        if not self._stops:
            return [delta]
        if self.hit is not None:
            return []
        self._held.append(delta)
        text = "".join(d.text for d in self._held)
        matches = [(start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        if matches:  # the match that ends first, so that the result does not depend on how the text was cut
            _, start, self.hit = min(matches)
            return self._release(start)
        partial = max((n for stop in self._stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        return self._release(len(text) - partial)

    def pass_by(self, delta: TextDelta) -> list[TextDelta]:
        """Take a delta that no stop string may cut: what was held back is ordinary text, and the delta is shown whole.

        For the tool calls that a server has parsed.
        """
        if self.hit is not None:
            return []
        held = self.flush()
        self.kept += len(delta.text)
        return [*held, delta]

    def flush(self) -> list[TextDelta]:
        """End the text: what was held back is ordinary."""
        if self.hit is not None:
            return []
        return self._release(sum(len(d.text) for d in self._held))

    def _release(self, chars: int) -> list[TextDelta]:
        """Pass on the first ``chars`` held characters. The ids of a delta that is cut go with its end."""
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
