"""Counts an engine's requests in flight, and decides how many tokens a message holds.

This is for engines that receive tokens as messages, over HTTP or from another process. A message costs about as much
CPU time as a small model needs for one token in a batch, so a busy engine puts several tokens into one message.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from relay_core.engines.forked import watch_forks
from relay_core.errors import ConfigurationError

LIGHT_BELOW = 8  # an engine with fewer requests in flight is lightly loaded
REQUESTS_PER_TOKEN, MOST_TOKENS = 8, 8  # with n requests in flight, a message holds 1 + n // 8 tokens, at most 8


class RequestsInFlight:
    """Counts requests, from any thread.

    Args:
        stream_interval: the number of tokens per message that the user chose; with ``None``, it depends on the requests
            in flight.

    Raises:
        ConfigurationError: ``stream_interval`` is not a positive whole number.
    """

    def __init__(self, stream_interval: int | None = None) -> None:
        if stream_interval is not None and (type(stream_interval) is not int or stream_interval < 1):
            raise ConfigurationError(f"stream_interval is {stream_interval!r}: write a whole number, 1 or more")
        self.stream_interval = stream_interval
        self.forget_parent()
        watch_forks(self)

    def forget_parent(self) -> None:
        """Reset the count: in a forked child, the parent's requests are not in flight."""
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def track_request(self) -> Iterator[None]:
        """Count a request as in flight until the context ends."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1

    @property
    def is_light(self) -> bool:
        """Whether so few requests are in flight that wasted work does not delay other requests."""
        return self._count < LIGHT_BELOW

    def tokens_per_message(self, *, warmed: bool = False) -> int:
        """How many tokens each message of a new request should hold.

        Args:
            warmed: whether the request is warmed; it may then be cut after any token, so each token needs its own
                message.
        """
        if warmed:
            return 1
        return self.stream_interval or min(1 + self._count // REQUESTS_PER_TOKEN, MOST_TOKENS)
