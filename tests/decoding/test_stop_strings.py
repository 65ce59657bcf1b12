import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.decoding.stop_strings import StopFilter, coalesce
from relay_core.events import TextDelta
from relay_core.transcript import Author

S, T = Author.STUDENT, Author.TEACHER


def run(stops: tuple[str, ...], *deltas: TextDelta) -> tuple[list[TextDelta], StopFilter]:
    filter = StopFilter(stops)
    shown = [d for delta in deltas for d in filter.feed(delta)]
    return shown + filter.flush(), filter


def texts(deltas: list[TextDelta]) -> str:
    return "".join(d.text for d in deltas)


def test_without_stop_strings_no_text_is_held_back() -> None:
    filter, delta = StopFilter(()), TextDelta(S, "a", (1,))
    assert filter.feed(delta) == [delta]
    assert filter.flush() == []


def test_a_stop_string_over_two_authors() -> None:
    shown, filter = run(("END",), TextDelta(S, "so E", (1,)), TextDelta(T, "N", (2,)), TextDelta(S, "D of", (3,)))
    assert shown == [TextDelta(S, "so ")]
    assert (filter.hit, filter.kept) == ("END", 3)
    assert filter.feed(TextDelta(S, "more")) == []


def test_text_that_may_become_a_stop_string_is_held_back() -> None:
    filter = StopFilter(("END", "\n\n"))
    assert texts(filter.feed(TextDelta(S, "a E", (1,)))) == "a "
    assert filter.feed(TextDelta(S, "N", (2,))) == []
    assert filter.feed(TextDelta(S, "A\n", (3,))) == [
        TextDelta(S, "E", (1,)),
        TextDelta(S, "N", (2,)),
        TextDelta(S, "A"),
    ]
    assert filter.flush() == [TextDelta(S, "\n", (3,))]


def test_no_id_is_lost_with_a_token_that_has_no_text() -> None:
    deltas = [TextDelta(S, "a", (1,)), *(TextDelta(S, "", (i,)) for i in (2, 3, 4)), TextDelta(S, "E", (5,))]
    shown, _ = run(("END",), *deltas)
    assert [i for d in shown for i in d.token_ids] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("pieces", [["abcd"], ["abc", "d"], ["a", "b", "c", "d"]])
def test_of_two_stop_strings_the_one_that_ends_first_counts(pieces: list[str]) -> None:
    shown, filter = run(("abcd", "bc"), *(TextDelta(S, p) for p in pieces))
    assert (texts(shown), filter.hit, filter.kept) == ("a", "bc", 1)


@given(
    text=st.text("abEND", max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=8),
    stops=st.lists(st.sampled_from(["END", "EN", "NEN", "DD", "aba", "b"]), min_size=1, max_size=3),
)
def test_however_the_text_is_cut_the_same_is_shown(text: str, cuts: list[int], stops: list[str]) -> None:
    edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    cut = [TextDelta(S, text[a:b], (a,)) for a, b in itertools.pairwise(edges)]
    shown, filter = run(tuple(stops), *cut)
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    expected = (
        text
        if not ends
        else min((text[: e - len(s)] for e in [min(ends)] for s in stops if text[:e].endswith(s)), key=len)
    )
    assert texts(shown) == expected
    assert filter.kept == len(expected)
    assert (filter.hit is None) == (not ends)


def test_what_passes_by_is_shown_whole_behind_what_was_held_back() -> None:
    filter = StopFilter(("stop",))
    assert texts(filter.feed(TextDelta(S, "a st"))) == "a "
    assert texts(filter.pass_by(TextDelta(S, "op stop"))) == "stop stop"
    assert (filter.hit, filter.kept) == (None, len("a stop stop"))
    assert texts(filter.feed(TextDelta(S, "a stop"))) == "a "
    assert (filter.hit, filter.pass_by(TextDelta(S, "more"))) == ("stop", [])


def test_neighbours_by_one_author_are_joined() -> None:
    deltas = [TextDelta(S, "a", (1,)), TextDelta(S, "b", (2,)), TextDelta(T, "c"), TextDelta(S, "d")]
    assert coalesce(deltas) == [TextDelta(S, "ab", (1, 2)), TextDelta(T, "c"), TextDelta(S, "d")]
    assert coalesce([]) == []
