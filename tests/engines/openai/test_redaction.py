"""Secrets are not shown in any form that a server or a library may write."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.engines.openai.redaction import Secrets

KEY = "sk-planted-0123456789abcdef"


@pytest.mark.parametrize("user", ["", "me", "user", "a-name"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_inside_the_base64_of_a_longer_text_is_not_shown(user, encode):
    token = encode(f"{user}:{KEY}:end".encode()).decode()
    shown = Secrets([KEY]).redact(f"Authorization: Basic {token}")
    assert "***" in shown
    for before in range(3):
        assert encode(b"x" * before + KEY.encode()).decode()[4:-4] not in shown


@given(before=st.binary(max_size=5), secret=st.binary(min_size=8, max_size=40), after=st.binary(max_size=5))
def test_every_position_in_base64_is_found(before, secret, after):
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    token = base64.b64encode(before + secret + after).decode()
    assert "***" in Secrets([text]).redact(token)
