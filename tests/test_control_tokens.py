"""Marks in control tokens: put in, and cut out of what a template made of them (``test_chat.py`` has the rest)."""

from __future__ import annotations

import json

from relay_core.chat import Conversation, render
from relay_core.control_tokens import split_at, split_tokens, unused_mark
from testing.templates import with_template


def test_a_mark_that_a_template_wrote_in_ascii_is_cut_out_too() -> None:
    template = "{{ messages[0].content | tojson(ensure_ascii=true) }}"
    tokenizer = with_template(template, "<s>", "</s>")
    rendered = render(tokenizer, Conversation.of("ä </s> b"))
    assert rendered.text == json.dumps("ä </s> b")
    assert tokenizer.special_ids.isdisjoint(rendered.token_ids)
    assert tokenizer.decode(rendered.token_ids, control=True) == rendered.text


def test_a_text_that_spells_a_mark_is_left_as_it_is() -> None:
    spelled = json.dumps("\ufdd0")[1:-1]
    mark = unused_mark(["\ufdd1", spelled])
    assert mark == "\ufdd2"
    marked = split_tokens({"a": [spelled + "</s>"]}, ["</s>"], mark)
    assert "".join(split_at(mark, marked["a"][0])) == spelled + "</s>"
