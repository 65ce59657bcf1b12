"""Counting an engine's requests in flight, and what depends on their number.

For engines that receive each token as a message (from vLLM, over HTTP or between processes). A message costs as much
processor time as a token's share of a step of a small model, so a busy engine lets several tokens share a message.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from relay_core.engines.forked import watch_forks
from relay_core.errors import ConfigurationError

LIGHT_BELOW = 8  # requests
REQUESTS_PER_TOKEN, MOST_TOKENS = 8, 8  # with n requests, a message brings 1 + n // 8 tokens, at most 8


class RequestsInFlight:
    """Counts requests, from any thread.

    Args:
        stream_interval: the user's choice of tokens per message; ``None`` makes the number depend on the requests in
            flight.

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
        """Begin to count anew: in a forked child, the parent's requests are not in flight."""
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def track_request(self) -> Iterator[None]:
        """Count one request more until the context ends."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1

    @property
    def is_light(self) -> bool:
        """Whether so few requests are in flight that wasted work delays nobody."""
        return self._count < LIGHT_BELOW

    def tokens_per_message(self, *, warmed: bool = False) -> int:
        """How many tokens a new request's messages should bring.

        Args:
            warmed: the request may be cut after any token, so that each must come alone.
        """
        if warmed:
            return 1
        return self.stream_interval or min(1 + self._count // REQUESTS_PER_TOKEN, MOST_TOKENS)
