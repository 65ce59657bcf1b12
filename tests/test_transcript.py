import pytest

from relay_core.transcript import Author, Transcript

S, C, T = Author.STUDENT, Author.COMMAND, Author.TEACHER


def transcript(*tokens: str, first_id: int = 1) -> Transcript:
    """A transcript in which the student wrote ``tokens``, with ids 1, 2, 3, …"""
    t = Transcript("Q: ", (100, 101))
    for i, text in enumerate(tokens, first_id):
        t.add_student(i, text, -0.5)
    return t


def call(t: Transcript, *tokens: str, first_id: int = 50, shared: bool = True, encode=None) -> None:
    t.begin_call()
    for i, text in enumerate(tokens, first_id):
        t.add_teacher(i, text)
    t.end_call(shared=shared, encode=encode)


def runs(t: Transcript) -> list[tuple[Author, str, tuple[int, ...]]]:
    return [(s.author, s.text, s.token_ids) for s in t.segments]


def test_an_empty_transcript() -> None:
    t = Transcript()
    assert (t.reader_text, t.student_text, t.segments, t.total, len(t)) == ("", "", [], 0, 0)
    assert t.training_row().token_ids == ()


def test_a_command_is_cut_out_of_the_tokens_that_carry_it() -> None:
    t = transcript("so", " <", "call", ">3", "</call", ">\n\n", "on")
    t.mark_command(3, 17)
    assert t.reader_text == "so \n\non"
    assert t.student_text == "so <call>3</call>\n\non"
    assert runs(t) == [
        (S, "so ", (1,)),
        (C, "<call>3</call>", (2, 3, 4, 5, 6)),
        (S, "\n\non", (7,)),
    ]
    assert list(t.visible()) == [1, " ", "\n\n", 7]
    assert [t.is_command(i) for i in range(7)] == [False, True, True, True, True, True, False]
    assert (t.count(S), t.count(C), t.total) == (2, 5, 7)
    assert sum(s.tokens for s in t.segments) == 7


def test_a_token_that_carries_the_edges_of_two_commands() -> None:
    t = transcript("<call>x</call", ">a<", "call>y</call>")
    t.mark_command(0, 14)
    t.mark_command(15, 29)
    assert t.reader_text == "a"
    assert runs(t) == [(C, "<call>x</call>", (1, 2)), (S, "a", ()), (C, "<call>y</call>", (3,))]
    assert t.total == sum(s.tokens for s in t.segments) == 3


def test_a_token_that_carries_two_whole_commands() -> None:
    t = transcript("a<call>x</call><call>y</call>b")
    t.mark_command(1, 15)
    t.mark_command(15, 29)
    assert t.reader_text == "ab"
    assert [(s.author, s.text) for s in t.segments] == [
        (S, "a"), (C, "<call>x</call>"), (C, "<call>y</call>"), (S, "b"),
    ]  # fmt: skip


def test_tokens_without_text() -> None:
    t = transcript("", "a", "", "<call>", "", "3</call>", "", "b")
    t.mark_command(1, 15)
    assert t.reader_text == "ab"
    assert [t.is_command(i) for i in range(8)] == [False, False, False, True, True, True, False, False]
    assert runs(t) == [(S, "a", (1, 2, 3)), (C, "<call>3</call>", (4, 5, 6)), (S, "b", (7, 8))]


def test_a_command_after_a_teachers_words_leaves_them_alone() -> None:
    t = transcript("<call>1</call>")
    t.mark_command(0, 14)
    call(t, "<call>", "7", "</call>")
    t.add_student(9, "<call>2</call>")
    t.mark_command(14, 28)
    call(t, "z", first_id=60)
    assert t.reader_text == "<call>7</call>z"
    assert runs(t) == [
        (C, "<call>1</call>", (1,)),
        (T, "<call>7</call>", (50, 51, 52)),
        (C, "<call>2</call>", (9,)),
        (T, "z", (60,)),
    ]
    assert t.student_ids == [1, 50, 51, 52, 9, 60]


def test_ids_are_shared_unchanged_or_the_text_is_encoded_once() -> None:
    asked = []

    def encode(text: str) -> list[int]:
        asked.append(text)
        return [900 + ord(c) for c in text]

    t = transcript("a")
    call(t, "x", "y", shared=True, encode=encode)
    assert (t.student_ids, asked) == ([1, 50, 51], [])
    t.add_student(2, "b")
    call(t, "x", "y", first_id=70, shared=False, encode=encode)
    assert (t.student_ids, asked) == ([1, 50, 51, 2, 1020, 1021], ["xy"])
    row = t.training_row()
    assert row.token_ids == tuple(t.student_ids)
    assert row.mask == (1, 0, 0, 1, 0, 0)
    assert row.logprobs == (-0.5, None, None, None, None, None)
    assert row.authors == (S, T, T, S, T, T)
    assert row.prompt_ids == (100, 101)
    assert [s.token_ids for s in t.segments] == [(1,), (50, 51), (2,), (70, 71)]


def test_a_teacher_without_ids_is_encoded_also_where_vocabularies_are_the_same() -> None:
    t = transcript("a")
    t.begin_call()
    t.add_teacher(None, "xy")
    t.end_call(shared=True, encode=lambda text: [ord(c) for c in text])
    assert t.student_ids == [1, 120, 121]


def test_a_call_without_tokens() -> None:
    t = transcript("a")
    for shared in (True, False):
        call(t, shared=shared, encode=lambda text: [1 / 0])
    assert t.student_ids == [1]
    assert runs(t) == [(S, "a", (1,))]


def test_a_student_without_ids_has_no_row_in_another_vocabulary() -> None:
    t = Transcript()
    t.add_student(None, "ab")
    call(t, "x", shared=False, encode=None)
    assert (t.student_ids, t.training_row().token_ids) == ([], ())
    assert t.reader_text == "abx"


def test_text_after_a_command_of_a_text_only_engine_is_removed() -> None:
    t = Transcript()
    t.add_student(None, "ab<call>3</call> and more")
    t.mark_command(2, 16)
    t.drop_tail(9)
    assert (t.reader_text, t.student_text, t.student_offset) == ("ab", "ab<call>3</call>", 16)
    t.drop_tail(0)
    t.add_student(None, "<call>")
    t.mark_command(16, 22)
    assert t.reader_text == "ab"


@pytest.mark.parametrize(("reported", "counts"), [(10, [5, 5]), (3, [2, 1]), (2, [1, 1]), (7, [4, 3])])
def test_text_only_entries_count_as_the_tokens_that_the_engine_reports(reported: int, counts: list[int]) -> None:
    t = Transcript()
    t.add_student(None, "abcd")
    call(t)
    t.add_teacher(None, "efgh")
    t.settle(0, reported)
    assert t.total == reported == sum(s.tokens for s in t.segments)
    assert sorted([t.count(S), t.count(T)]) == sorted(counts)


@pytest.mark.parametrize("reported", [0, 1])
def test_text_has_at_least_a_token_an_entry_and_one_in_256_characters(reported: int) -> None:
    t = Transcript()
    for text in ("ab", "c" * 513, ""):
        t.add_teacher(None, text)
    assert t.total == 1 + 3 + 1, "also before the engine reports anything"
    t.settle(0, reported)
    assert t.total == 4


def test_tokens_with_ids_count_themselves() -> None:
    t = transcript("ab", "c")
    t.settle(0, 99)
    assert t.total == 2
    empty = Transcript()
    empty.add_student(None, "")
    empty.settle(0, 5)
    assert empty.total == 1


@pytest.mark.parametrize("keep", range(10))
def test_the_readers_text_is_cut_whatever_is_hidden_in_it(keep: int) -> None:
    t = transcript("abc", "d <call>x</call>", "ef<call>y</call>gh", "")
    t.mark_command(5, 19)
    t.mark_command(21, 35)
    whole = "abcd efgh"
    assert t.reader_text == whole
    t.cut_reader_text(keep)
    assert t.reader_text == whole[:keep]
    assert [s.text for s in t.segments if s.author is C] == ["<call>x</call>", "<call>y</call>"]
    assert "".join(s.text for s in t.segments if s.author is S) == whole[:keep]
    assert t.total == 4, "ids stay whole"


def test_ids_beyond_the_vocabulary_do_not_travel() -> None:
    t = transcript("a")
    t.begin_call()
    t.add_teacher(5, "x")
    t.add_teacher(999, "")  # a padding id of the teacher's embedding, which has no text
    t.end_call(shared=True, encode=lambda text: [ord(c) for c in text], has_ids=lambda ids: max(ids) < 100)
    assert t.student_ids == [1, ord("x")]
    assert t.training_row().token_ids == (1, ord("x"))
