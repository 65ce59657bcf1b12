"""The proxy of an endpoint, from the engine's ``proxy=`` or from the environment.

The URL of a proxy may hold a password, so errors show only its scheme, its host and its port.
"""

from __future__ import annotations

import base64
import importlib.util
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from relay_core.errors import ConfigurationError

_SOCKS = ("socks5", "socks5h")
_SCHEMES = ("http", "https", *_SOCKS)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that can be used.

    ``source``: the setting or the environment variables that name it. ``url``: its URL, which may hold a password.
    """

    source: str
    url: str

    @property
    def is_socks(self) -> bool:
        """Whether the proxy speaks SOCKS, which aiohttp does not."""
        return self.url.startswith("socks")

    @property
    def is_tls(self) -> bool:
        """Whether the connection to the proxy itself is encrypted."""
        return self.url.startswith("https:")

    @property
    def bare_url(self) -> str:
        """The URL without the user name and the password."""
        return urlsplit(self.url)._replace(netloc=urlsplit(self.url).netloc.rpartition("@")[2]).geturl()

    @property
    def headers(self) -> dict[str, str]:
        """The header with the user name and the password, if there are any."""
        parts = urlsplit(self.url)
        if parts.username is None:
            return {}
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The user name, the password, and both combined; empty if there are none."""
        parts = urlsplit(self.url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        raw = parts.netloc.rpartition("@")[0]
        return tuple(value for value in (raw, f"{user}:{password}", password, user) if value.strip(":"))

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{self.source} ({parts.scheme}://{parts.hostname}{port})"

    def __repr__(self) -> str:
        return f"Proxy({str(self)!r})"


def proxy_of(url: str, setting: str | None) -> Proxy | None:
    """The proxy for requests to ``url``; ``None`` if there is none.

    Args:
        url: the endpoint's URL.
        setting: the engine's ``proxy=``; with ``None``, the environment is read: ``HTTPS_PROXY`` for an https URL,
            ``HTTP_PROXY`` for an http URL, and ``ALL_PROXY`` if that variable is not set.
            ``NO_PROXY`` excepts hosts from these.

    Raises:
        ConfigurationError: the proxy cannot be used; the message names the setting or the variable.
    """
    if setting is not None:
        return checked_proxy("proxy=", setting)
    parts = urlsplit(url)
    proxies = getproxies()
    for scheme in (parts.scheme, "all"):
        proxy = proxies.get(scheme)
        if proxy:
            if proxy_bypass(parts.netloc) or proxy_bypass(parts.hostname or ""):
                return None
            # as in curl and httpx, a URL without a scheme in the environment means http
            return checked_proxy(f"{scheme.upper()}_PROXY", proxy if "://" in proxy else f"http://{proxy}")
    return None


def checked_proxy(source: str, url: str) -> Proxy:
    """``url`` as a proxy.

    Raises:
        ConfigurationError: ``url`` is not the URL of a proxy, or SOCKS needs a package that is not installed.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"{source} is a {type(url).__name__}: write a URL such as http://host:3128")
    url = url.strip()
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise ConfigurationError(f"{source} names a proxy without a scheme: write http://host:3128")
    if scheme not in _SCHEMES:
        shown = f"{scheme[:20]!r} " if scheme.isalnum() else ""
        raise ConfigurationError(f"{source} names a proxy with the scheme {shown}: write one of {', '.join(_SCHEMES)}")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError(f"{source} names a proxy without a usable host and port: write http://host:3128")
    if scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(f"{source} names a SOCKS proxy, for which a package is missing: pip install socksio")
    return Proxy(source, url)
