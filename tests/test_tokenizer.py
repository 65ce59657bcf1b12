"""Encoding, decoding and comparing, on two byte-level vocabularies and one with SentencePiece's spaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import ConfigurationError
from relay_core.tokenizer import Tokenizer, as_tokenizer

TEXTS = ["", " a", "a ", "\n\nb", "so 47 * 6 = 282.", "  two", "é", "😀", "中文", "</call>\n", "\t", "a\u0301"]


@pytest.fixture(scope="session", params=["qwen3", "tiny", "metaspace"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def test_two_of_the_vocabularies_are_byte_level(qwen3: Tokenizer, tiny: Tokenizer, metaspace: Tokenizer) -> None:
    assert len(qwen3.token_bytes or []) == 151_669
    assert tiny.token_bytes is not None
    assert metaspace.token_bytes is None


@pytest.mark.parametrize("text", TEXTS[:-1])
def test_decoding_what_was_encoded_gives_the_same_text(tokenizer: Tokenizer, text: str) -> None:
    before, ids = tokenizer.encode("a"), tokenizer.encode(text)
    assert tokenizer.decode(before + ids) == tokenizer.decode(before) + text
    assert tokenizer.spells(ids, text)
    assert not tokenizer.spells(ids, text + "a")
    assert not tokenizer.spells([*ids, int(tokenizer.hf.eos_token_id)], text)


def test_only_the_beginning_of_a_text_may_get_a_space(metaspace: Tokenizer, qwen3: Tokenizer) -> None:
    assert metaspace.hf.convert_ids_to_tokens(metaspace.encode("so", begins=True))[0].startswith("▁")
    assert not metaspace.hf.convert_ids_to_tokens(metaspace.encode("so"))[0].startswith("▁")
    assert qwen3.encode("so", begins=True) == qwen3.encode("so")


def test_a_lone_surrogate_becomes_the_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")
    assert tokenizer.encode("a\ud83d\ude00b") == tokenizer.encode("a😀b")


def test_control_tokens_and_special_tokens(qwen3: Tokenizer) -> None:
    assert {"<|im_start|>", "<|im_end|>", "<think>", "<tool_call>"} <= set(qwen3.control_tokens)
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(qwen3.special_tokens)
    assert not {"<think>", "<tool_call>"} & set(qwen3.special_tokens)
    assert qwen3.special_ids == {*map(qwen3.hf.convert_tokens_to_ids, qwen3.special_tokens)}
    start, end = qwen3.encode("<|im_start|><|im_end|>")
    assert {start, end} <= qwen3.special_ids
    assert qwen3.decode([start, end]) == ""
    assert qwen3.decode([start, end], control=True) == "<|im_start|><|im_end|>"


@pytest.mark.parametrize("text", [*TEXTS, "a 😀 b", "a 𓀀 b", "\ufffd", "x\ufffdy"])
def test_the_decoders_pieces_join_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    before = tokenizer.encode("so")
    decoder, ids = tokenizer.decoder(before), tokenizer.encode(text + ".")
    pieces = [decoder.step(i) for i in ids]
    assert "".join(pieces) == tokenizer.decode(before + ids).removeprefix("so")
    assert "\ufffd" not in "".join(pieces).replace("\ufffd", "", text.count("\ufffd"))


@pytest.mark.parametrize("split", [1, 2])
def test_a_character_that_begins_in_the_context_is_completed_in_the_stream(tokenizer: Tokenizer, split: int) -> None:
    ids = tokenizer.encode("𓀀!")
    assert len(ids) > 2
    decoder = tokenizer.decoder([*tokenizer.encode("so "), *ids[:split]])
    assert "".join(decoder.step(i) for i in ids[split:]) == "𓀀!"


def test_a_decoder_knows_whether_it_is_in_a_character(tokenizer: Tokenizer) -> None:
    decoder, ids = tokenizer.decoder(tokenizer.encode("so ")), tokenizer.encode("𓀀")
    assert not decoder.is_in_character
    inside = []
    for token_id in ids:
        decoder.step(token_id)
        inside.append(decoder.is_in_character)
    assert inside == [True] * (len(ids) - 1) + [False]


def test_a_character_that_stays_incomplete_becomes_a_replacement_with_the_next_token(tiny: Tokenizer) -> None:
    decoder, first = tiny.decoder(), tiny.encode("𓀀")[0]
    assert decoder.step(first) == ""
    assert decoder.step(tiny.encode("a")[0]) == "\ufffda"


def test_control_tokens_and_unknown_ids_have_no_text(qwen3: Tokenizer) -> None:
    decoder = qwen3.decoder()
    assert [decoder.step(i) for i in (151_645, 151_644, 151_643, 151_935, -1)] == [""] * 5
    assert decoder.step(qwen3.encode("<think>")[0]) == "<think>"


@given(ids=st.lists(st.integers(0, 151_668), max_size=20), at=st.integers(0, 20))
def test_the_decoder_agrees_with_decoding_at_once(qwen3: Tokenizer, ids: list[int], at: int) -> None:
    decoder = qwen3.decoder(ids[:at][-4:])
    text = "".join(decoder.step(i) for i in [*ids[at:], 0])
    whole = qwen3.decode([*ids, 0])
    assert whole.endswith(text) or "\ufffd" in whole


def test_vocabularies_are_compared_by_content(qwen3: Tokenizer, tiny: Tokenizer, metaspace: Tokenizer) -> None:
    again = Tokenizer(qwen3.hf, "another name")
    assert qwen3.shares_vocabulary(again)
    assert qwen3.fingerprint == again.fingerprint
    assert not qwen3.shares_vocabulary(tiny)
    assert not tiny.shares_vocabulary(metaspace)
    assert not tiny.shares_vocabulary(None)


def test_what_is_not_a_fast_tokenizer_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="no tokenizer could be read"):
        Tokenizer.load(tmp_path)
    with pytest.raises(ConfigurationError, match="fast tokenizer"):
        as_tokenizer(object())


def test_a_tokenizer_is_wrapped_once(tiny: Tokenizer) -> None:
    assert as_tokenizer(tiny) is tiny
    assert as_tokenizer(tiny.hf).hf is tiny.hf


@pytest.mark.parametrize("alien", [-1, 10**6, 2**32, 2**63, 10**30])
def test_ids_that_the_vocabulary_lacks_have_no_text_and_raise_nothing(tokenizer: Tokenizer, alien: int) -> None:
    ids = tokenizer.encode("so on")
    assert tokenizer.has_ids(ids)
    assert not tokenizer.has_ids([*ids, alien])
    assert not tokenizer.has_ids([None])
    assert tokenizer.decode([*ids, alien]) == tokenizer.decode(ids)
    assert not tokenizer.spells([*ids, alien], "so on")
    decoder = tokenizer.decoder([*ids, alien])
    assert decoder.step(alien) == ""
    assert decoder.step(tokenizer.encode("so")[0]).strip()
