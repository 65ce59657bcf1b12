import re

from hypothesis import given
from hypothesis import strategies as st

from relay_core.train.places import places, whole
from relay_core.train.replay import Draft, Opened

PIECES = st.lists(st.sampled_from(["it is ", "4", "7", "1,250.5", " ", "🙂", "नमस्ते", "=", ".", "café"]), min_size=1)


def draft(own, calls=()):
    return Draft((), tuple(own), tuple(calls), "", ended=False)


@given(PIECES, st.data())
def test_a_place_is_at_the_end_of_a_character_and_never_within_a_number(qwen3, pieces, data):
    ids = [i for piece in pieces for i in qwen3.encode(piece)]
    nats = data.draw(st.lists(st.sampled_from([0.0, 9.0]), min_size=len(ids), max_size=len(ids)))
    found = list(places(draft(ids), nats, qwen3, margin=4.5))
    assert found == sorted(set(found)) and bool(found) == (9.0 in nats)
    if found:
        assert found[0] <= nats.index(9.0) and found[-1] <= max(i for i, n in enumerate(nats) if n)
    for place in found:
        before, after = qwen3.decode(ids[:place]), qwen3.decode(ids[place:])
        assert before + after == qwen3.decode(ids) and "\ufffd" not in before + after
        assert not (re.search(r"\d$", before) and re.match(r"[.,]?\d", after))
        assert not (re.search(r"\d[.,]$", before) and re.match(r"\d", after))


def test_the_margin_must_be_exceeded(qwen3):
    ids = qwen3.encode("it is so")
    assert list(places(draft(ids), [4.5, 0, 4.6], qwen3, margin=4.5)) == [2]


def test_after_a_call_only_what_follows_counts_and_its_own_place_makes_it_longer(qwen3):
    own, words = qwen3.encode("it is = 5 or"), tuple(qwen3.encode(" 28"))
    at = len(qwen3.encode("it is ="))
    with_call = draft([*own[:at], *qwen3.encode("5 or")], [Opened(at, words, words)])
    ids, is_own = whole(with_call)
    assert qwen3.decode(ids) == "it is = 285 or" and is_own.count(False) == len(words)
    first = at + len(words)
    for objected in range(first):  # before the end of the call
        assert not list(places(with_call, [9.0 * (i == objected) for i in range(len(ids))], qwen3, margin=4.5))
    assert list(places(with_call, [9.0 * (i == first) for i in range(len(ids))], qwen3, margin=4.5)) == [at]
    assert list(places(with_call, [9.0 * (i == first + 1) for i in range(len(ids))], qwen3, margin=4.5)) == [at + 1]
