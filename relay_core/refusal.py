"""Explains why a chat template refused a conversation, and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from relay_core.template import Template

# the shortest conversations in which a role can occur
_SHORTEST = {"assistant": ("user", "assistant"), "system": ("system", "user"), "tool": ("user", "assistant", "tool")}


def refusal(template: Template, roles: Sequence[str], error: Exception) -> str:
    """The reason for a refusal.

    Args:
        template: the template that raised ``error``.
        roles: the roles of the messages that the template received, in order.
        error: the exception, which the template raised on purpose (``raise_exception``), or because it read a value
            that is missing.
    """
    return f"{error} (the roles, in order: {', '.join(roles)}){_advice(template, roles)}"


def _advice(template: Template, roles: Sequence[str]) -> str:
    """What to write instead, if probes show that the template refuses the order of the roles."""
    turns = [role for role in roles if role != "system"]
    if not template.accepts({"role": "user", "content": "a"}):
        return ""
    if turns[:1] == ["assistant"] and not _accepts(template, "assistant", "user"):
        return "; begin with a user message"
    for role, following in pairwise(turns):
        if role == following and not _accepts(template, *(["user"] if role == "assistant" else []), role, role):
            return f"; user and assistant must take turns: join the {role} messages that follow each other into one"
    for role, shortest in _SHORTEST.items():
        if role in roles and not _accepts(template, *shortest):
            return f"; it has no role {role!r}: write that text into a user message"
    return ""


def _accepts(template: Template, *roles: str) -> bool:
    return template.accepts(*({"role": role, "content": "a"} for role in roles))
