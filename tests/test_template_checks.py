"""Templates that no model can be used with, and end tokens that the model does not know."""

from __future__ import annotations

import copy

import pytest

from relay_core.engines.spec import EngineSpec, Scheme
from relay_core.errors import ConfigurationError
from relay_core.template import check_template, missing_end
from relay_core.tokenizer import Tokenizer


def with_template(template: str | None) -> Tokenizer:
    """The bundled teacher's tokenizer with another chat template."""
    hf = copy.deepcopy(Tokenizer.load(EngineSpec(Scheme.BUNDLED, "teacher").source).hf)
    hf.chat_template = template
    return Tokenizer(hf, "my-model")


CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def test_a_usable_template_passes() -> None:
    check_template(with_template(CHATML))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "my-model has no chat template: put a chat_template.jinja"),
        ("hello\n{% for m in messages %}{{ m.content }", r"syntax error in line 2: .*correct its chat_template.jinja"),
    ],
)
def test_a_template_that_no_message_can_pass_is_refused(template: str | None, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_template(with_template(template))


@pytest.mark.parametrize("template", ["{{ raise_exception('no user') }}", "{{ messages[7].content }}"])
def test_a_template_that_refuses_some_messages_is_left_to_them(template: str) -> None:
    check_template(with_template(template))


def test_the_token_that_ends_an_answer_must_be_an_end_token() -> None:
    tokenizer = with_template(CHATML)
    end = tokenizer.vocabulary["<|im_end|>"]
    assert missing_end(tokenizer, {end}) is None
    message = missing_end(tokenizer, {end + 1})
    assert message is not None and "<|im_end|>" in message and f"add its id, {end}, to eos_token_id" in message


@pytest.mark.parametrize(
    "template", ["{% for m in messages %}{{ m.content }}\n{% endfor %}", "{{ raise_exception('') }}"]
)
def test_a_template_that_ends_an_answer_with_no_token_says_nothing(template: str) -> None:
    assert missing_end(with_template(template), set()) is None
