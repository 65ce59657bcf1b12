import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.command import CLOSE, MAX_BODY_CHARS, OPEN, Call, CommandScanner, Malformed, Text, parse, write
from testing.grammar import hidden, visible

PIECES = [
    "<call>",
    "</call>",
    "<",
    ">",
    "</",
    "call",
    " ",
    "\n",
    "3",
    "12",
    "-3",
    "abc",
    "٣",
    "x" * 31,
    "é",
    "0123456789",
]

streams = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


def scan(*chunks: str) -> list[Text | Call | Malformed]:
    """All pieces of a stream that came in ``chunks``, neighbouring text joined."""
    scanner, out = CommandScanner(), []
    for piece in [*(p for chunk in chunks for p in scanner.feed(chunk)), *scanner.flush()]:
        if out and isinstance(piece, Text) and isinstance(out[-1], Text):
            out[-1] = Text(out[-1].text + piece.text)
        else:
            out.append(piece)
    return out


def cut(text: str, at: list[int]) -> list[str]:
    edges = [0, *sorted(i % (len(text) + 1) for i in at), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("source", "piece"),
    [
        ("<call>12</call>", Call(12, "<call>12</call>")),
        ("<call> 12\n</call>", Call(12, "<call> 12\n</call>")),
        ("<call>0</call>", Call(0, "<call>0</call>")),
        ("<call>999999999</call>", Call(999_999_999, "<call>999999999</call>")),
        ("<call>1000000000</call>", Malformed("<call>1000000000</call>")),
        ("<call>abc</call>", Malformed("<call>abc</call>")),
        ("<call>-3</call>", Malformed("<call>-3</call>")),
        ("<call>1.5</call>", Malformed("<call>1.5</call>")),
        ("<call>1 2</call>", Malformed("<call>1 2</call>")),
        ("<call>٣</call>", Malformed("<call>٣</call>")),
        ("<call></call>", Malformed("<call></call>")),
        ("<call><call>3</call>", Malformed("<call><call>3</call>")),
        ("</call>", Malformed("</call>")),
    ],
)
def test_each_rule_of_the_command(source: str, piece: Call | Malformed) -> None:
    assert scan(source) == [piece]
    assert scan(*source) == [piece]
    assert parse(source) == piece
    assert scan("a " + source + " b") == [Text("a "), piece, Text(" b")]


@pytest.mark.parametrize("body", ["abc", "3 tea", "<call", "<b", "3<b>"])
def test_an_opening_tag_that_is_never_closed_is_text(body: str) -> None:
    assert scan(f"a <call>{body}") == [Text(f"a <call>{body}")]
    assert scan(*f"a <call>{body}") == [Text(f"a <call>{body}")]


@pytest.mark.parametrize("body", ["", "3", "-3", " 12 ", "<", "</", "3</", "3</cal", "3</call"])
def test_a_command_that_the_end_cuts_off_is_malformed(body: str) -> None:
    assert scan(f"a <call>{body}") == [Text("a "), Malformed(f"<call>{body}")]
    assert scan(*f"a <call>{body}") == [Text("a "), Malformed(f"<call>{body}")]
    assert scan(f"a <call>x <call>{body}") == [Text("a <call>x "), Malformed(f"<call>{body}")]


@pytest.mark.parametrize("wrong", ["<call>8</>", "<call>8</", "<call> 8 </cal>", "<call></b>", "<call>12</call"])
@pytest.mark.parametrize("behind", [" and so on", " and so on" * 9, "", " <call>3"])
def test_a_number_followed_by_another_closing_tag_is_malformed(wrong: str, behind: str) -> None:
    first, piece, *_ = scan(f"takes the{wrong}{behind}")
    assert (first, piece) == (Text("takes the"), Malformed(wrong))
    assert scan(f"a{wrong}{behind}") == scan(*f"a{wrong}{behind}")


def test_an_unclosed_opening_tag_directly_after_a_command_is_malformed() -> None:
    text = "33 * 4<call>5</call><call> = 388. Now it is 388. Second, Ida finds 2 more"
    assert scan(text) == scan(*text)
    assert [type(piece) for piece in scan(text)] == [Text, Call, Malformed, Text]
    assert scan(text)[2:] == [Malformed("<call>"), Text(text.rpartition("<call>")[2])]
    assert scan("a</call><call>x") == [Text("a"), Malformed("</call>"), Malformed("<call>"), Text("x")]
    assert scan("a</call> <call>x") == [Text("a"), Malformed("</call>"), Text(" <call>x")]
    assert scan("<call>1</call>", "", "<call>x") == [Call(1, "<call>1</call>"), Malformed("<call>"), Text("x")]


@pytest.mark.parametrize("held", ["<c", "<ca", "<cal", "<call", "<", "</", "</c", "</ca", "</cal", "</call"])
def test_a_tag_that_a_budget_cuts_off_is_malformed(held: str) -> None:
    for cut_off in (True, False):
        scanner = CommandScanner()
        assert scanner.feed("a" + held) == [Text("a")]
        hides = cut_off and held != "<"
        assert scanner.flush(cut_off=cut_off) == [Malformed(held) if hides else Text(held)]


@pytest.mark.parametrize("text", ["8</call> = 888", "a </call></call>b", "</call>", "x</call>\n"])
def test_a_closing_tag_without_an_opening_tag_is_malformed(text: str) -> None:
    assert "".join(p.text for p in scan(text) if isinstance(p, Text)) == text.replace("</call>", "")
    assert [p for p in scan(text) if not isinstance(p, Text)] == [Malformed("</call>")] * text.count("</call>")


def test_the_body_has_room_for_32_characters() -> None:
    longest = OPEN + "3".rjust(MAX_BODY_CHARS) + CLOSE
    assert scan(longest) == [Call(3, longest)]
    longer = OPEN + "3".rjust(MAX_BODY_CHARS + 1) + CLOSE
    alone = [Text(longer.removesuffix(CLOSE)), Malformed(CLOSE)]
    assert scan(longer) == alone
    assert scan(*longer) == alone
    assert scan(longer + longest) == [*alone, Call(3, longest)]


def test_a_command_after_an_opening_tag_that_is_text() -> None:
    text = OPEN + "x" * 40 + "<call>3</call>"
    assert scan(text) == [Text(OPEN + "x" * 40), Call(3, "<call>3</call>")]
    assert scan("<call>" * 7 + "3</call>")[-1] == Malformed("<call>" * 6 + "3</call>")


def test_text_that_may_become_a_command_is_held() -> None:
    scanner = CommandScanner()
    assert scanner.feed("so 47 * 6 = <ca") == [Text("so 47 * 6 = ")]
    assert scanner.held == "<ca"
    assert scanner.feed("ll>3</call>") == [Call(3, "<call>3</call>")]
    assert scanner.feed("1 < 2") == [Text("1 < 2")]
    assert scanner.feed("") == []
    assert scanner.feed("<") == []
    assert scanner.flush() == [Text("<")]
    assert scanner.flush() == []


@given(n=st.integers(0, 999_999_999))
def test_writing_and_parsing_are_inverses(n: int) -> None:
    assert parse(write(n)) == Call(n, write(n))


@pytest.mark.parametrize("n", [-1, 1_000_000_000])
def test_a_number_that_no_command_holds(n: int) -> None:
    with pytest.raises(ValueError, match=str(n)):
        write(n)


@given(text=streams, at=st.lists(st.integers(0, 200), max_size=12))
def test_the_pieces_do_not_depend_on_the_chunks(text: str, at: list[int]) -> None:
    whole = scan(text)
    assert scan(*cut(text, at)) == whole
    assert scan(*text) == whole
    assert "".join(p.text if isinstance(p, Text) else p.source for p in whole) == text


@given(text=streams)
def test_the_scanner_agrees_with_the_grammar(text: str) -> None:
    commands = [p for p in scan(text) if not isinstance(p, Text)]
    assert [p.source for p in commands] == hidden(text)
    for piece in commands:
        whole = piece.source.startswith(OPEN) and piece.source.endswith(CLOSE)
        body = piece.source[len(OPEN) : -len(CLOSE)].strip(" \n") if whole else "no command"
        good = body.isascii() and body.isdigit() and len(body) <= 9
        assert piece == (Call(int(body), piece.source) if good else Malformed(piece.source))


@given(text=streams, ends=st.sampled_from(["<call>3</call>"[i:] for i in range(14)] + ["x" * 50, ""]))
def test_text_that_was_emitted_never_becomes_a_command(text: str, ends: str) -> None:
    shown = "".join(p.text for p in CommandScanner().feed(text) if isinstance(p, Text))
    assert visible(text + ends).startswith(shown)
