"""An answer as HTML and SVG: every author's words, nothing active, nothing loaded from elsewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from relay_core import Prices, Relay, RelayResult, ScriptedEngine
from relay_core.cli import app
from relay_core.pictures import html_fragment
from relay_core.tokenizer import Tokenizer
from relay_core.unicode import printable

TEXT = "{http://www.w3.org/2000/svg}text"
NASTY = '<script>alert("x")</script> & <b>bold</b> \x1b[31mred\x1b[0m \ud800 "quotes" \'single\''


def answer(student: str, teacher: str, tokenizer: Tokenizer | None = None, **options) -> RelayResult:
    engines = ScriptedEngine([f"{student}<call>9</call>", " and so on"], tokenizer), ScriptedEngine(teacher, tokenizer)
    return Relay(*engines).generate("Q", on_teacher_stop="continue", **options)


class Texts(HTMLParser):
    """The text of each ``<span>`` of the answer, by class."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.runs: list[tuple[str, str]] = []
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        if tag == "span" and "title" in found:
            self._open = str(found["class"])
            self.runs.append((self._open, ""))

    def handle_data(self, data: str) -> None:
        if self._open:
            self.runs[-1] = (self._open, self.runs[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


def test_the_page_holds_who_wrote_what_and_no_command() -> None:
    result = answer("47 * 6 = ", "282", prices=Prices(teacher_output=1.0))
    page = result.to_html(title="What is 47 * 6?")
    assert Texts(page).runs == [("student", "47 * 6 = "), ("teacher", "282"), ("student", " and so on")]
    assert "<title>What is 47 * 6?</title>" in page and "call&gt;" not in page and "<call" not in page
    assert "3 of " in page and "1 call;" in page and "cost" in page
    assert result._repr_html_() == html_fragment(result)
    assert result._repr_html_() in page


@pytest.mark.parametrize("picture", ["to_html", "to_svg", "_repr_html_"])
def test_nothing_is_loaded_and_nothing_a_model_wrote_is_active(picture: str) -> None:
    result = answer(NASTY, NASTY)
    page = getattr(result, picture)()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import|<script|<b>|\x1b|\ud800", page)
    page.encode("utf-8")
    assert "&lt;script&gt;" in page
    if picture != "to_svg":
        assert Texts(page).tags <= {"html", "head", "meta", "title", "body", "div", "span", "style"}


@given(text=st.text(max_size=300))
def test_an_svg_is_well_formed_and_holds_all_of_the_text(text: str) -> None:
    result = answer("a ", text or "b")
    root = ElementTree.fromstring(result.to_svg())
    lines = ["".join(span.text or "" for span in line) for line in root.iter(TEXT) if line.get("class") == "text"]
    shown, wanted = ("".join(printable(part).split()) for part in ("".join(lines), result.text))
    assert shown == wanted
    assert all(len(line) <= 93 for line in lines)


def test_long_lines_are_wrapped_at_spaces_and_authors_stay() -> None:
    result = answer("word " * 60, "teacher " * 60 + "\nnew line", max_tokens=4000, max_call_tokens=None)
    root = ElementTree.fromstring(result.to_svg())
    spans = list(root.iter(TEXT.replace("text", "tspan")))
    assert {span.get("class") for span in spans} == {"student", "teacher"}
    first = next(root.iter(TEXT))
    assert "".join(span.text or "" for span in first).endswith("word ")
    lines = ["".join(span.text or "" for span in line) for line in root.iter(TEXT)]
    assert not any(line.startswith(" ") for line in lines), "a line is broken behind its space"


def test_relay_ask_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "relay_core.engines.spec.engine_from_spec", lambda spec, role, **_: ScriptedEngine("Fine <b>.", None)
    )
    page = tmp_path / "answer.html"
    done = CliRunner().invoke(app, ["ask", "How are you?", "--html", str(page), "--json"])
    assert done.exit_code == 0
    assert "Fine &lt;b&gt;." in page.read_text() and "<title>How are you?</title>" in page.read_text()
    failed = CliRunner().invoke(app, ["ask", "Q", "--html", str(tmp_path / "nowhere" / "x.html")])
    assert failed.exit_code == 1 and "cannot be written" in failed.output
