"""Text with lone surrogates is repaired, so that it can be encoded."""

from __future__ import annotations

from relay_core.unicode import repair_surrogates


def test_surrogates_are_joined_or_replaced() -> None:
    assert repair_surrogates("a\ud83e\udd8ab") == "a🦊b"
    assert repair_surrogates("a\ud83eb\x00") == "a\ufffdb\x00"
