"""Where an endpoint is, and what a client needs to be let in: URL, key, headers and TLS settings."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay_core.errors import ConfigurationError, MissingExtraError
from relay_core.keys import Role, key_from_environment

if TYPE_CHECKING:
    from pydantic import SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One model at one endpoint; its ``repr`` shows no secret.

    Args:
        model: the model's name at the endpoint.
        base_url: an ``http://`` or ``https://`` URL, without a query and without a user name.
        api_key: the key; empty for an endpoint that needs none.
        role: the role whose key this is; ``None`` for an engine that may take either.
        headers: HTTP headers of every request.
        query: query parameters of every request.
        verify: how TLS certificates are verified, as :func:`httpx_verify` returns it.
        proxy: a proxy's URL; ``None`` takes the environment's.

    Raises:
        ConfigurationError: ``model`` or ``base_url`` cannot be used.
    """

    model: str
    base_url: str
    api_key: SecretStr
    role: Role | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | ssl.SSLContext = True
    proxy: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigurationError(f"model is {self.model!r}: write its name at the endpoint")
        if not isinstance(self.base_url, str) or not self.base_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"base_url is {self.base_url!r}: write http:// or https://, such as http://host:8000/v1"
            )
        if "@" in self.base_url.partition("://")[2].partition("/")[0]:
            raise ConfigurationError("base_url holds a user name or password: give them in headers=")
        if "?" in self.base_url:  # the URL is shown in errors, and paths are appended to it
            raise ConfigurationError("base_url holds a query: give a key as api_key=, anything else in query=")

    @property
    def spec(self) -> str:
        """The engine spec that names this model."""
        return f"openai:{self.model}@{self.base_url}"

    def redact(self, text: str) -> str:
        """``text`` with the key replaced, in case a server echoed it."""
        key = self.api_key.get_secret_value()
        return text.replace(key, "***") if len(key) > 3 else text


def secret_key(api_key: SecretStr | str | None, role: Role | None) -> SecretStr:
    """The key as a ``SecretStr``; ``None`` reads the environment variables of ``role``."""
    try:
        from pydantic import SecretStr
    except ImportError as error:
        raise MissingExtraError("OpenAIEngine", "openai") from error
    if isinstance(api_key, SecretStr):
        return api_key
    return SecretStr((key_from_environment(role) or "") if api_key is None else api_key)


def httpx_verify(verify: bool | str | ssl.SSLContext) -> bool | ssl.SSLContext:
    """``verify`` in the form that ``httpx`` takes; a path of a CA file is read.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    if not isinstance(verify, str):
        return verify
    try:
        return ssl.create_default_context(cafile=verify)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"verify is {verify!r}: write the path of a CA file in PEM ({error})") from error
