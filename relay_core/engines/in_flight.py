"""How busy an engine is, and what is better done otherwise when it is.

For engines that hand each token on as a message (vLLM's, over HTTP or between processes), where a message costs as much
processor time as a small model's share of a step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from relay_core.errors import ConfigurationError

LIGHT_BELOW = 8  # requests
REQUESTS_PER_TOKEN, MOST_TOKENS = 8, 8  # with n requests a message brings 1 + n // 8 tokens, 8 at most


class Load:
    """Counts the requests that are under way, from any thread.

    Args:
        stream_interval: how many tokens a message brings, where a user has said so; ``None``: what suits the load.

    Raises:
        ConfigurationError: that is not a whole number of tokens.
    """

    def __init__(self, stream_interval: int | None = None) -> None:
        if stream_interval is not None and (type(stream_interval) is not int or stream_interval < 1):
            raise ConfigurationError(f"stream_interval is {stream_interval!r}: write a whole number, 1 or more")
        self._given = stream_interval
        self._lock = threading.Lock()
        self._requests = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """A request is under way in here."""
        with self._lock:
            self._requests += 1
        try:
            yield
        finally:
            with self._lock:
                self._requests -= 1

    @property
    def is_light(self) -> bool:
        """Whether there is time for work that may be in vain."""
        return self._requests < LIGHT_BELOW

    def tokens_per_message(self, *, warmed: bool = False) -> int:
        """How many tokens a request may wait for before they are handed on; ``warmed``: it may be cut after any."""
        if warmed:
            return 1
        return self._given or min(1 + self._requests // REQUESTS_PER_TOKEN, MOST_TOKENS)
