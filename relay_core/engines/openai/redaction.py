"""Keeps secrets out of messages, log records and chained exceptions.

A server can echo a key, and HTTP libraries log what they send. Their texts pass through :meth:`Secrets.redact` and
:func:`printable` before they are shown. Their exceptions, which hold requests and responses, are replaced with
:class:`ForeignError`, which holds only text.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import traceback
import weakref
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from relay_core.engines.forked import in_child

_HIDDEN = "***"
_BEGINNING = 8  # the beginning of a secret is hidden, too, if it has at least this many characters
_DIGIT, _WORDS = re.compile(r"\d"), re.compile(r"\s|://")  # the beginnings of other values are ordinary words
_SHORTEST = 4  # characters; shorter values occur in ordinary messages
# Line ends and other control characters, and characters that hide or reorder the text around them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]+")
#: the loggers of the HTTP libraries; each is named, because child loggers do not inherit a filter
HTTP_LOGGERS = (
    "httpx", "httpx2", "openai", "openai._base_client", "openai._legacy_response", "openai._response",
    "openai._streaming", "httpcore", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy",
    "httpcore.socks", "httpcore2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy",
    "httpcore2.socks", "aiohttp", "aiohttp.client", "aiohttp.internal", "aiohttp.websocket", "hpack", "asyncio",
)  # fmt: skip


class ForeignError(Exception):
    """An exception of another library as text: the name of its type and its message, without secrets.

    Errors of an engine have it as their cause instead of the exception itself.
    """


def printable(text: str, limit: int | None = None) -> str:
    """``text`` on one line, without control characters, cut to ``limit`` characters."""
    shown = _UNPRINTABLE.sub(" ", text if limit is None else text[: 4 * limit]).strip()
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


class Secrets:
    """Values that must not be shown: plain, URL-encoded, with the escapes of JSON or ``repr``, or in base64.

    Args:
        values: the secrets; values of fewer than four characters are not redacted.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.add(values)

    def add(self, values: Iterable[str]) -> None:
        """Add further secrets."""
        forms = self._forms | {form for value in values if len(value) >= _SHORTEST for form in _forms(value)}
        if forms != self._forms:
            longest_first = sorted(forms, key=lambda form: (-len(form), form))
            self._forms, self._pattern = forms, re.compile("|".join(map(re.escape, longest_first)), re.I)

    def redact(self, text: str) -> str:
        """``text`` with secrets replaced, and also long beginnings of secrets, with which a cut text may end."""
        if self._pattern is None:
            return text
        text = self._pattern.sub(_HIDDEN, text)
        for form in self._forms:
            if len(form) > _BEGINNING and _DIGIT.search(form) and not _WORDS.search(form):
                text = _without_beginnings(text, form)
        return text

    def cause(self, error: BaseException) -> ForeignError:
        """An exception and its causes, as text."""
        chain: list[BaseException] = []
        while error not in chain and len(chain) < 8:
            chain.append(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__) or error
        foreign: ForeignError | None = None
        for link in reversed(chain):
            outer = ForeignError(printable(self.redact(describe(link)), 500))
            outer.__cause__ = foreign
            foreign = outer
        assert foreign is not None
        return foreign

    def __repr__(self) -> str:
        return "Secrets(***)"

    def __reduce__(self) -> tuple[type[Secrets], tuple[()]]:
        return Secrets, ()  # a pickle holds no secrets


def _without_beginnings(text: str, secret: str) -> str:
    lowered, secret, shown, position = text.lower(), secret.lower(), list[str](), 0
    if len(lowered) != len(text):  # a few capital letters become longer in lower case
        return text
    while (start := lowered.find(secret[:_BEGINNING], position)) >= 0:
        end = start + _BEGINNING
        while end < len(text) and end - start < len(secret) and lowered[end] == secret[end - start]:
            end += 1
        shown += [text[position:start], _HIDDEN]
        position = end
    return "".join([*shown, text[position:]])


def describe(error: BaseException) -> str:
    """An exception's type and message on one line."""
    try:
        message = str(error)
    except Exception:
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _forms(value: str) -> set[str]:
    encoded = value.encode(errors="surrogatepass")
    base64_forms = {base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode()}
    if len(encoded) >= _BEGINNING:
        base64_forms |= set(_inside_base64(encoded))
    forms = {value, quote(value, safe=""), quote_plus(value), quote(value), json.dumps(value)[1:-1], repr(value)[1:-1]}
    return forms | {form.rstrip("=") for form in base64_forms}


def _inside_base64(value: bytes) -> Iterator[str]:
    """How ``value`` reads in the base64 of a text that holds it, such as ``user:value`` of basic authentication.

    It depends on the number of bytes before it, modulo 3. Characters that also hold bits of the neighbours are left
    out.
    """
    for before in range(3):
        padded = b"\0" * before + value
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(padded + b"\0" * (-len(padded) % 3)).decode()
            yield whole[(0, 2, 3)[before] : len(padded) * 8 // 6]


class _LogFilter(logging.Filter):
    """Redacts the log records of the HTTP libraries, for the secrets of every engine that is alive."""

    def __init__(self) -> None:
        super().__init__()
        self._known: weakref.WeakSet[Secrets] = weakref.WeakSet()
        self.renew_lock()

    def renew_lock(self) -> None:
        """Renew the lock in a forked child, since another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def protect(self, secrets: Secrets) -> None:
        with self._lock:
            self._known.add(secrets)
            for name in HTTP_LOGGERS:
                logger = logging.getLogger(name)
                if self not in logger.filters:
                    logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
            if (redacted := self._redact(text)) != text:
                record.exc_text, record.exc_info = redacted, None
        try:
            message = record.getMessage()
        except Exception:  # the logging module reports arguments that do not fit
            return True
        if (redacted := self._redact(message)) != message:
            record.msg, record.args = redacted, ()
        return True

    def _redact(self, text: str) -> str:
        with self._lock:
            known = list(self._known)
        for secrets in known:
            text = secrets.redact(text)
        return text


_LOG_FILTER = _LogFilter()
in_child(_LOG_FILTER.renew_lock)


def protect_logs(secrets: Secrets) -> None:
    """Keep secrets out of the records of :data:`HTTP_LOGGERS` as long as ``secrets`` exists."""
    _LOG_FILTER.protect(secrets)
