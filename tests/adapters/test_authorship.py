from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relay_core.adapters.authorship import AnswerPieces, AuthorSpans
from relay_core.tool_call import InvalidToolCall, ToolCall, ToolCallDelta
from relay_core.tool_parser import AnswerPiece, Content, parse_answer
from relay_core.tools import Offer, offer
from relay_core.transcript import Author

STUDENT, TEACHER = Author.STUDENT, Author.TEACHER
OFFERED = offer([{"name": "price"}])
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "lamp"}}\n</tool_call>'
WRITTEN = st.lists(
    st.tuples(st.sampled_from([STUDENT, TEACHER]), st.sampled_from(["a", " b\n", "é🙂", CALL, CALL[:40], CALL[40:]])),
    max_size=8,
)


def read(pieces: AnswerPieces, written: list[tuple[Author, str]]) -> list[tuple[Author, AnswerPiece]]:
    return [piece for author, text in written for piece in pieces.feed(author, text)] + pieces.flush()


@given(WRITTEN, st.integers(0, 40), st.integers(0, 40))
def test_a_cut_gives_every_character_its_author(written: list[tuple[Author, str]], start: int, n: int) -> None:
    spans = AuthorSpans()
    starts = [spans.add(author, len(text)) for author, text in written]
    text, authors = "".join(t for _, t in written), [author for author, t in written for _ in t]
    assert starts == [sum(len(t) for _, t in written[:i]) for i in range(len(written))]
    parts = spans.cut(start, text[start : start + n])
    assert [author for author, part in parts for _ in part] == authors[start : start + n]
    assert "".join(part for _, part in parts) == text[start : start + n]
    assert all(one[0] is not other[0] for one, other in pairwise(parts))
    assert [s["author"] for s in spans.as_dicts() for _ in range(s["start"], s["end"])] == list(map(str, authors))


def test_what_nobody_wrote_counts_as_its_neighbours() -> None:
    spans = AuthorSpans(3)
    assert (spans.author(0), spans.last, spans.as_dicts()) == (STUDENT, STUDENT, [])
    spans.add(TEACHER, 2)
    assert (spans.author(0), spans.author(4), spans.author(99)) == (TEACHER, TEACHER, TEACHER)
    assert spans.as_dicts() == [{"author": "teacher", "start": 3, "end": 5}]
    assert spans.cut(4, "longer") == [(TEACHER, "longer")]


@given(WRITTEN)
def test_pieces_are_those_of_the_parser_each_by_one_author(written: list[tuple[Author, str]]) -> None:
    pieces = AnswerPieces(OFFERED)
    authored = read(pieces, written)
    text, authors = "".join(t for _, t in written), [author for author, t in written for _ in t]
    parsed = parse_answer(text)
    assert pieces.full_text == text
    assert "".join(p.text for _, p in authored if isinstance(p, Content)) == parsed.content
    assert [p.arguments for _, p in authored if isinstance(p, ToolCall)] == [c.arguments for c in parsed.tool_calls]
    for author, piece in authored:
        if isinstance(piece, Content):
            assert text.startswith(piece.text, piece.start)
            assert set(authors[piece.start : piece.start + len(piece.text)]) == {author}
        elif isinstance(piece, ToolCallDelta) and piece.arguments:
            assert set(authors[piece.start : piece.start + len(piece.arguments)]) == {author}
        elif isinstance(piece, InvalidToolCall | ToolCall):
            assert text.startswith("<tool_call>", piece.start)
        if isinstance(piece, InvalidToolCall):
            assert text.startswith(piece.source, piece.start)


def test_without_tools_all_is_content() -> None:
    authored = read(AnswerPieces(Offer()), [(STUDENT, CALL), (TEACHER, "x")])
    assert authored == [(STUDENT, Content(CALL, 0)), (TEACHER, Content("x", len(CALL)))]


def test_a_forced_beginning_belongs_to_what_was_written() -> None:
    pieces = AnswerPieces(offer([{"name": "price"}], "price"))
    authored = read(pieces, [(TEACHER, ' {"item": "lamp"}}\n</tool_call>')])
    assert pieces.full_text == CALL
    assert {author for author, _ in authored} == {TEACHER}
    assert [p.arguments for _, p in authored if isinstance(p, ToolCall)] == [{"item": "lamp"}]
    opened = AnswerPieces(Offer(), opening="{")
    assert opened.feed(STUDENT, "}") == [(STUDENT, Content("}", 1))]
    assert opened.full_text == "{}"


def test_a_call_without_a_tag_is_read_if_its_tool_is_on_offer() -> None:
    offered = offer([{"name": "stock", "parameters": {}}])
    for name, count in (("stock", 1), ("price", 0)):
        pieces = AnswerPieces(offered)
        text = f'{{"name": "{name}", "arguments": {{"item": "tea"}}}}'
        parts = [*pieces.feed(STUDENT, text[:31]), *pieces.feed(TEACHER, text[31:]), *pieces.flush()]
        assert len([piece for _, piece in parts if isinstance(piece, ToolCall)]) == count
        assert pieces.full_text == text
        content = "".join(piece.text for _, piece in parts if isinstance(piece, Content))
        assert content == ("" if count else text)
        assert {author for author, _ in parts} == {STUDENT, TEACHER}
