"""Builds the relay of a ``ChatRelay`` or a ``RelayLLM`` from its specs, engines and keys."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from relay_core.adapters.settings_fields import DEFAULTS
from relay_core.engines.base import Engine
from relay_core.engines.shared import shared_engine
from relay_core.keys import Role
from relay_core.relay import Relay


def build_relay(
    student: str | Engine,
    teacher: str | Engine | None,
    *,
    api_keys: Mapping[Role, SecretStr | None],
    retries: int | None,
) -> Relay:
    """Build a relay; loads nothing. Engines that are named by specs are shared by the whole process.

    The relay is built with default settings, because ``ChatRelay`` and ``RelayLLM`` pass their own settings with every
    request.

    Args:
        api_keys: the API keys for ``openai:`` specs; if the key of a role is ``None``, it is read from the environment.
        retries: for ``openai:`` specs, the most attempts after the first one; ``None`` means the engine's default.

    Raises:
        ConfigurationError: a spec cannot be used.
    """

    def engine(spec: str | Engine, role: Role) -> Engine:
        if isinstance(spec, Engine):
            return spec
        key = api_keys[role]
        secret = None if key is None else key.get_secret_value()
        return shared_engine(spec, role=role, api_key=secret, retries=retries)

    return Relay(engine(student, "student"), None if teacher is None else engine(teacher, "teacher"), DEFAULTS)
