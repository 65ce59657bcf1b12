"""The bias of the tokens that can begin a command."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import (
    Chunk,
    Commands,
    ConfigurationError,
    Engine,
    Prompt,
    Relay,
    RelaySettings,
    Sampling,
    ScriptedEngine,
    bundled,
)
from relay_core.command import OPEN
from relay_core.decoding.command_bias import command_logit_bias, command_openers
from relay_core.decoding.triggers import MAX_BIAS, parse_trigger
from relay_core.engines.base import ANSWERS_BEFORE_WARNING
from relay_core.tokenizer import Tokenizer

CALLING = ["47 * 6 = <call>3</call>", "."]


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return Tokenizer.load(bundled.path("student-relay"))


@given(before=st.text("abc 12\n", min_size=1), mark=st.sampled_from(["", "=", ":", ".", "(", "= ", ": ", "\n"]))
def test_every_command_begins_with_such_a_token(qwen3: Tokenizer, small: Tokenizer, before: str, mark: str) -> None:
    for tokenizer in (qwen3, small):
        decoder, text = tokenizer.decoder(), ""
        ids = tokenizer.encode(before + mark + "<call>3</call>")
        opener = next(i for i in ids if OPEN[0] in (text := text + decoder.step(i)))
        assert opener in command_openers(tokenizer)


def test_no_other_token_is_one(qwen3: Tokenizer, small: Tokenizer) -> None:
    texts = {tokenizer.decode([i], control=True) for tokenizer in (qwen3, small) for i in command_openers(tokenizer)}
    assert {"<", " <", "=<", "<call"} <= texts
    assert not {"</", "<<", "><", "<=", "<think>", "<|im_end|>", "<a", " <<", "call"} & texts


def test_the_students_requests_have_the_bias_as_long_as_it_may_call(small: Tokenizer) -> None:
    student = ScriptedEngine(CALLING, tokenizer="bundled", biases_logits=True, record=True)
    teacher = ScriptedEngine("282", tokenizer="bundled", biases_logits=True, record=True)
    settings = RelaySettings(trigger="commands:bias=-1.5", max_calls=1)
    assert Relay(student, teacher, settings).generate("47 * 6?").text == "47 * 6 = 282."
    openers = command_openers(small)
    assert [s.logit_bias for _, s in student.requests] == [dict.fromkeys(openers, -1.5), None]
    assert [s.logit_bias for _, s in teacher.requests] == [None]


def test_a_student_that_a_bias_keeps_from_calling_is_not_taken_for_an_untrained_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for bias, warned in ((-2, False), (0, True)):
        student = ScriptedEngine("no call", tokenizer="bundled", biases_logits=True)
        relay = Relay(student, ScriptedEngine("x", tokenizer="bundled"))
        relay.batch(["Q"] * ANSWERS_BEFORE_WARNING, trigger=Commands(bias=bias))
        assert ("has written no command" in caplog.text) is warned


@pytest.mark.parametrize("settings", [{"trigger": "commands"}, {"trigger": Commands(bias=-2), "calls": False}])
def test_without_a_bias_or_without_calls_nothing_is_biased(settings: dict[str, object]) -> None:
    student = ScriptedEngine(CALLING, tokenizer="bundled", record=True)
    Relay(student, ScriptedEngine("282", tokenizer="bundled")).generate("47 * 6?", **settings)
    assert {s.logit_bias for _, s in student.requests} == {None}


class Plain(Engine):
    """An engine as a user may have written it before there was a bias."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        raise AssertionError("nothing is generated")
        yield


@pytest.mark.parametrize(
    ("student", "said"),
    [(Plain(), r"^the student \(engine, Plain\) cannot change the probability of a token.*leave the bias out"),
     (ScriptedEngine("x", None, biases_logits=True), r"vocabulary .* \(scripted\) is not on this machine: name it")],
)  # fmt: skip
def test_a_student_that_cannot_be_biased_is_refused_before_anything_is_generated(student: Engine, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Relay(student, None).generate("47 * 6?", trigger=Commands(bias=-2))


def test_a_vocabulary_without_such_a_token_is_refused() -> None:
    from tokenizers import Tokenizer as Fast
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(tokenizer_object=Fast(WordLevel({"a": 0, "</s>": 1}, unk_token="a")))
    with pytest.raises(ConfigurationError, match=r"no token of the student's vocabulary .* begins '<call>'"):
        command_logit_bias(ScriptedEngine("a", tokenizer=Tokenizer(words, "words"), biases_logits=True), 1.0)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_bias_is_one_that_engines_take(sign: int) -> None:
    assert Sampling(5, logit_bias={1: Commands(bias=sign * MAX_BIAS).command_bias}).logit_bias == {1: sign * MAX_BIAS}
    with pytest.raises(ConfigurationError, match=r"Commands: bias is -?101: write a number from -100 to 100"):
        Commands(bias=sign * (MAX_BIAS + 1))


def test_a_bias_without_its_name_is_told_how_to_be_written() -> None:
    with pytest.raises(ConfigurationError, match=r"trigger is 'commands:-2': for a bias, write commands:bias=-2"):
        parse_trigger("commands:-2")
