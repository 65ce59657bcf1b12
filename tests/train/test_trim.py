from hypothesis import given
from hypothesis import strategies as st

from relay_core.train.places import whole
from relay_core.train.replay import Draft, Opened
from relay_core.train.trim import trimmed
from testing.tiny_transformers import make_tokenizer


def draft(tokenizer, before, call, after, teacher=None):
    own = [*tokenizer.encode(before), *tokenizer.encode(after)]
    ids = (teacher or tokenizer).encode(call)
    opened = Opened(len(tokenizer.encode(before)), tuple(ids), tuple(tokenizer.encode(call)))
    return Draft((), tuple(own), (opened,), before + call + after, ended=False, right=True)


def shorter(answer, student, teacher, surprising):
    """The call of the answer, if the words that contain `surprising` are not what the student would write."""
    ids, is_own = whole(answer)
    gaps = [2.0 if not own and student.decode([i]) in surprising else 0.0 for i, own in zip(ids, is_own, strict=True)]
    new = trimmed(answer, gaps, student, teacher)
    assert whole(new)[0] == ids and new.text == answer.text  # nothing but the authors has changed
    (call,) = new.calls
    assert student.decode(call.words) == teacher.decode(call.ids)
    return student.decode(call.words)


def test_the_end_that_the_student_would_write_itself_is_its_own(qwen3):
    answer = draft(qwen3, "47 * 6 = ", "282. Now", " it is 282.")
    assert shorter(answer, qwen3, qwen3, {"2", "8"}) == "282"
    assert shorter(answer, qwen3, qwen3, {" Now"}) == "282. Now"


def test_a_call_keeps_a_whole_number_and_at_least_one_token(qwen3):
    answer = draft(qwen3, "47 * 6 = ", "282. Now", " it is 282.")
    assert shorter(answer, qwen3, qwen3, {"8"}) == "282"
    assert shorter(answer, qwen3, qwen3, set()) == "282"
    assert shorter(draft(qwen3, "I", " think so", "."), qwen3, qwen3, set()) == " think"


@given(st.text(alphabet="27 ab.né🙂", min_size=1, max_size=12), st.sets(st.sampled_from("27 ab.né🙂")))
def test_it_ends_where_both_vocabularies_have_a_token(qwen3, call, surprising):
    other = make_tokenizer()
    answer = draft(qwen3, "x", call, "y", other)
    assert shorter(answer, qwen3, other, surprising) == call[: len(shorter(answer, qwen3, other, surprising))]
