"""Log-probabilities in events: read in both forms, and the text of several tokens cut into them."""

import math
from typing import Any

import pytest

from relay_core.engines.base import Token
from relay_core.engines.openai.logprobs import TokenTexts, as_logprob, entries, request_fields
from relay_core.engines.openai.protocol import Mode


def chat(*tokens: tuple[str, float, float]) -> dict[str, Any]:
    """A choice in chat's form: text, log-probability, and that of the likeliest token."""
    content = [{"token": t, "logprob": p, "top_logprobs": [{"token": "?", "logprob": top}]} for t, p, top in tokens]
    return {"logprobs": {"content": content}}


def completions(*tokens: tuple[str, float, float]) -> dict[str, Any]:
    """The same in the form of completions, where the sampled token is named, too."""
    texts, values, tops = zip(*tokens, strict=True)
    top = [{"?": b, t: p} for t, p, b in tokens]
    return {"logprobs": {"tokens": [*texts], "token_logprobs": [*values], "top_logprobs": top, "text_offset": [*tops]}}


@pytest.mark.parametrize("form", [chat, completions])
def test_a_text_is_cut_into_its_tokens(form) -> None:
    choice = form(("so", -0.5, -0.5), (" 47", -3.0, -1.0), (".", -0.1, -0.1))
    tokens = TokenTexts().cut(Token(None, "so 47."), choice)
    assert [(t.text, t.logprob, t.top_logprob) for t in tokens] == [
        ("so", -0.5, -0.5), (" 47", -3.0, -1.0), (".", -0.1, -0.1),
    ]  # fmt: skip


@pytest.mark.parametrize("form", [chat, completions])
def test_a_character_of_several_tokens_has_the_lowest_of_their_probabilities(form) -> None:
    texts = TokenTexts()
    texts.keep(form(("\ufffd", -0.2, -0.2)))  # the first bytes of a character, in an event without text
    tokens = texts.cut(Token(None, "😀!"), form(("\ufffd", -2.0, -1.5), ("!", -0.1, -0.1)))
    assert [(t.text, t.top_logprob) for t in tokens] == [("😀!", -1.5)]
    assert [(t.text, t.top_logprob) for t in texts.cut(Token(None, "a"), form(("a", -0.3, -0.3)))] == [("a", -0.3)]


@pytest.mark.parametrize("form", [chat, completions])
def test_text_that_is_not_the_tokens_is_one_token(form) -> None:
    choice = form(("a", -0.5, -0.4), ("x", -2.0, -0.9))
    assert TokenTexts().cut(Token(None, "abc"), choice) == [
        Token(None, "a", -0.5, top_logprob=-0.4), Token(None, "bc", None, top_logprob=-0.9),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "choice",
    [{}, {"logprobs": None}, {"logprobs": 7}, {"logprobs": {"content": None}}, {"logprobs": {"content": [3]}},
     {"logprobs": {"token_logprobs": "x"}}, {"logprobs": {"content": [{"token": "a", "top_logprobs": 3}]}}],
)  # fmt: skip
def test_without_usable_entries_the_text_stays_whole(choice: dict[str, Any]) -> None:
    [token] = TokenTexts().cut(Token(None, "ab"), choice)
    assert (token.text, token.top_logprob) == ("ab", None)


def test_a_likeliest_token_that_is_not_named_is_the_sampled_one() -> None:
    [entry] = entries({"logprobs": {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": [{"logprob": "x"}]}]}})
    assert (entry.logprob, entry.top_logprob) == (-0.5, -0.5)
    [entry] = entries({"logprobs": {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": []}]}})
    assert entry.top_logprob is None, "the endpoint was asked for it, and does not say"


@pytest.mark.parametrize("value", [None, "x", math.inf, -math.inf, math.nan, 10**400, True, [1]])
def test_what_cannot_be_a_log_probability_is_none(value: Any) -> None:
    assert as_logprob(value) is None
    assert as_logprob(-3) == -3.0


@pytest.mark.parametrize("mode", Mode)
def test_each_mode_asks_in_its_own_form(mode: Mode) -> None:
    assert request_fields(mode)["logprobs"] is (True if mode in (Mode.CHAT, Mode.CHAT_CONTINUE) else 1) or (
        request_fields(mode) == {"logprobs": 1}
    )
