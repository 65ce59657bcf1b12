import pytest

from relay_core.decoding.reader_view import ReaderView
from relay_core.transcript import Transcript


class Letters:
    """A model's vocabulary: 1000 + the letter; 1 says <|end|>, which no reader sees."""

    asked: list[str]

    def __init__(self) -> None:
        self.asked = []

    def encode(self, text: str) -> list[int]:
        self.asked.append(text)
        return [1000 + ord(c) for c in text]

    def spells(self, ids: list[int], text: str) -> bool:
        return "".join(chr(i - 1000) if i >= 1000 else "<|end|>" for i in ids) == text


def letters(t: Transcript, text: str, add="add_student") -> None:
    for c in text:
        getattr(t, add)(1000 + ord(c), c)


def test_sampled_ids_are_used_unchanged_and_only_cut_tokens_are_encoded() -> None:
    model, t = Letters(), Transcript()
    view = ReaderView(model.encode, model.spells, prefix="P")
    letters(t, "ab")
    t.add_student(5, " <")
    letters(t, "call>1</call")
    t.add_student(6, ">\n\n")
    t.mark_command(3, 17)
    first = list(view.update(t))
    assert model.asked == ["P", " \n\n"]
    assert first == [1000 + ord(c) for c in "Pab \n\n"]
    t.begin_call()
    letters(t, "xy", "add_teacher")
    assert view.update(t) == [*first, *(1000 + ord(c) for c in "xy")]
    assert view.update(t) == view.ids, "what was taken in stays"
    assert model.asked == ["P", " \n\n"]


@pytest.mark.parametrize("stray", [1, 2])
def test_ids_that_do_not_spell_the_readers_text_are_not_used(stray: int) -> None:
    model, t = Letters(), Transcript()
    letters(t, "ab")
    t.add_student(stray, "")  # a control token, or half a character
    letters(t, "c")
    assert ReaderView(model.encode, model.spells).update(t) == [1000 + ord(c) for c in "abc"]
    assert model.asked == ["abc"]


def test_without_a_shared_vocabulary_only_new_text_is_encoded() -> None:
    model, t = Letters(), Transcript()
    letters(t, "abc")
    view = ReaderView(model.encode, None)
    view.update(t)
    view.update(t)
    t.begin_call()
    letters(t, "x", "add_teacher")
    view.update(t)
    assert model.asked == ["abc", "x"]
    assert view.ids == [1000 + ord(c) for c in "abcx"]
