"""What a user reads when a chat template refuses messages."""

from __future__ import annotations

import pytest

from relay_core import ConfigurationError
from relay_core.chat import Conversation, render
from testing.templates import tokenizer_of, with_template

ROLES = "{% for m in messages if m.role not in ['user', 'tool'] %}{{ raise_exception('what is this?') }}{% endfor %}"


def refused(family_or_template: str, *roles: str) -> str:
    is_family = "{" not in family_or_template
    tokenizer = tokenizer_of(family_or_template) if is_family else with_template(family_or_template, "<s>", "</s>")
    messages = [{"role": role, "content": f"text {i}"} for i, role in enumerate(roles)]
    with pytest.raises(ConfigurationError) as caught:
        render(tokenizer, Conversation.of(messages))
    return str(caught.value)


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "mistral"])
def test_turns_that_do_not_alternate(family: str) -> None:
    message = refused(family, "system", "user", "user")
    assert message.startswith(f"{family}'s chat template refuses these messages: ")
    assert "must alternate" in message
    assert "user, user" in message
    assert message.endswith(
        "user and assistant must take turns: join the user messages that follow each other into one"
    )
    assert "join the assistant messages" in refused(family, "user", "assistant", "assistant", "user")


def test_an_assistant_that_begins() -> None:
    assert refused("gemma3", "assistant", "user").endswith("begin with a user message")


def test_a_role_that_is_unknown_to_the_template() -> None:
    message = refused(ROLES, "user", "assistant")
    assert "what is this? (the roles, in order: user, assistant); it has no role 'assistant'" in message


def test_a_reason_that_has_nothing_to_do_with_roles_stands_alone() -> None:
    message = refused("{{ raise_exception('not today') }}", "user", "assistant")
    assert message.endswith("refuses these messages: not today (the roles, in order: user, assistant)")
    message = refused(
        "{% if messages | length > 2 %}{{ raise_exception('too many') }}{% endif %}", "user", "user", "user"
    )
    assert "too many (the roles, in order: user, user, user)" in message
    assert "turns" not in message
