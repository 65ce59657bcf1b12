"""The address of an endpoint and the credentials for it: URL, key, headers and TLS settings."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from relay_core.engines.openai.proxies import Proxy, checked_proxy, proxy_of
from relay_core.engines.openai.redaction import Secrets, printable, protect_logs
from relay_core.errors import ConfigurationError, MissingExtraError
from relay_core.keys import KEY_VARIABLES, Role, clean_key, key_from_environment

if TYPE_CHECKING:
    from pydantic import SecretStr

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One model at one endpoint; its ``repr`` shows no secrets, and it cannot be pickled.

    Args:
        model: the model's name at the endpoint.
        base_url: an ``http://`` or ``https://`` URL, without a query and without a user name.
        api_key: the key; empty if the endpoint needs no key.
        role: the role whose key this is; ``None`` if the engine has no fixed role.
        headers: HTTP headers of every request.
        query: query parameters of every request.
        verify: how TLS certificates are verified, as :func:`httpx_verify` returns it.
        proxy: the URL of a proxy; ``None`` means the proxy that the environment names.

    ``secrets`` holds the secrets among these values, which are removed from error messages and logs.

    Raises:
        ConfigurationError: a value cannot be used.
    """

    model: str
    base_url: str
    api_key: SecretStr
    role: Role | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | ssl.SSLContext = True
    proxy: str | None = field(default=None, repr=False)
    secrets: Secrets = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.role not in (None, *KEY_VARIABLES):
            raise ConfigurationError(f"role is {self.role!r}: write {' or '.join(map(repr, KEY_VARIABLES))}")
        if not isinstance(self.model, str) or not self.model:
            raise ConfigurationError(f"model is {self.model!r}: write its name at the endpoint")
        object.__setattr__(self, "base_url", _checked_url(self.base_url))
        object.__setattr__(self, "headers", _checked_headers(self.headers))
        object.__setattr__(self, "query", _checked_query(self.query))
        values = [self.api_key.get_secret_value(), *_words(self.headers), *self.query.values()]
        if self.proxy is not None:
            values += checked_proxy("proxy=", self.proxy).secrets
        object.__setattr__(self, "secrets", Secrets(values))
        protect_logs(self.secrets)

    @property
    def spec(self) -> str:
        """The engine spec that names this model."""
        return f"openai:{self.model}@{self.base_url}"

    @property
    def used_proxy(self) -> Proxy | None:
        """The proxy for requests to the endpoint, from ``proxy`` or from the environment.

        Raises:
            ConfigurationError: the proxy cannot be used; the message names the setting or the variable.
        """
        proxy = proxy_of(self.base_url, self.proxy)
        if proxy is not None:
            self.secrets.add(proxy.secrets)
        return proxy

    def redact(self, text: str) -> str:
        """``text`` with every secret replaced, in case the server has echoed one."""
        return self.secrets.redact(text)

    def shown(self, text: str, limit: int = 300) -> str:
        """The text of a server or a library in a safe form: without secrets, on one line, cut to ``limit``."""
        return printable(self.redact(text), limit)

    def __copy__(self) -> Address:
        return self

    def __deepcopy__(self, memo: object) -> Address:
        return self

    def __reduce__(self) -> Any:
        raise ConfigurationError("an Address holds a key and cannot be pickled")


def secret_key(api_key: SecretStr | str | None, role: Role | None) -> SecretStr:
    """The key as a ``SecretStr``; ``None`` reads the environment variables of ``role``.

    Raises:
        ConfigurationError: the key has characters that no HTTP header can hold.
    """
    try:
        from pydantic import SecretStr
    except ImportError as error:
        raise MissingExtraError("OpenAIEngine", "openai") from error
    if api_key is None:
        if role not in (None, *KEY_VARIABLES):
            return SecretStr("")  # Address refuses the role afterwards
        return SecretStr(key_from_environment(role) or "")
    key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    return SecretStr(clean_key(key, "api_key="))


def httpx_verify(verify: bool | str | os.PathLike[str] | ssl.SSLContext) -> bool | ssl.SSLContext:
    """``verify`` in the form that ``httpx`` takes; if it is the path of a CA file, the file is read.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    if isinstance(verify, bool | ssl.SSLContext):
        return verify
    if not isinstance(verify, str | os.PathLike):
        raise ConfigurationError(f"verify is a {type(verify).__name__}: write True, False or the path of a CA file")
    try:
        return ssl.create_default_context(cafile=os.fspath(verify))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"verify is {verify!r}: write the path of a CA file in PEM ({error})") from error


def _checked_url(base_url: str) -> str:
    """``base_url`` without white space around it; a URL that may hold a password is not shown."""
    url = base_url.strip() if isinstance(base_url, str) else ""
    rest = url.partition("://")[2]
    if "@" in rest:  # in the host, or after a slash in the password
        raise ConfigurationError("base_url holds a user name or password: give them in headers=")
    if "?" in url or "#" in url:  # the URL is shown in errors, and paths are appended to it
        raise ConfigurationError("base_url holds a query: give a key as api_key=, anything else in query=")
    if not url.startswith(("http://", "https://")):
        shown = "***" if isinstance(base_url, str) and "@" in base_url else repr(base_url)[:120]
        raise ConfigurationError(f"base_url is {shown}: write http:// or https://, such as http://host:8000/v1")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or any(character in url for character in ' \\"<>'):
        raise ConfigurationError("base_url has no usable host and port: write a URL such as http://host:8000/v1")
    return url


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    checked = {}
    for name, value in _items("headers", headers):
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"headers= has the name {printable(name, 40)!r}, which is not a valid header name")
        checked[name] = clean_key(value, f"headers= {name!r}")
    return checked


def _checked_query(query: Mapping[str, str]) -> dict[str, str]:
    return dict(_items("query", query))


def _items(setting: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The names and values of a setting; numbers become text.

    Raises:
        ConfigurationError: the setting is not a mapping of names to text; the message shows no values.
    """
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{setting}= is a {type(values).__name__}: write a dict of names and values")
    items = []
    for name, value in values.items():
        if isinstance(value, (int, float)):
            value = str(value).lower() if isinstance(value, bool) else str(value)
        elif hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(f"{setting}= has a value of {name!r} that is a {type(value).__name__}: write text")
        items.append((name, value))
    return items


def _words(headers: Mapping[str, str]) -> list[str]:
    """The values of headers, and the words in them, because a server may echo only the key of ``Bearer KEY``."""
    long_words = [word for value in headers.values() for word in value.split() if len(word) >= 8]
    return [*headers.values(), *long_words]
