"""What runs in an actor of Ray Data: the function of ``ray_data.py``, for the items of several blocks at a time."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core import portal
from relay_core.engines.base import Message
from relay_core.errors import RelayError
from relay_core.events import RelayResult
from relay_core.relay import Relay


@dataclass(frozen=True, slots=True)
class Answerer:
    """A relay as a function for actors: from messages, and the options of their answer, to the answer."""

    relay: Relay

    async def __call__(self, item: tuple[Sequence[Message], Mapping[str, Any]]) -> RelayResult:
        messages, options = item
        return await self.relay.agenerate(messages, **options)


@dataclass(frozen=True, slots=True)
class Failed:
    """In place of a result: the error of this item."""

    error: RelayError


class Actor:
    """Answers blocks of items; several threads call it at once, and all work is done on one event loop.

    Args:
        pickled: the async function.
        limit: how many items are answered at a time, over all blocks.
    """

    def __init__(self, pickled: bytes, limit: int) -> None:
        self._pickled, self._gate = pickled, asyncio.Semaphore(limit)
        self._lock = threading.Lock()
        self._answer: Callable[[Any], Awaitable[Any]] | None = None

    def __call__(self, block: Any) -> Any:
        """Answer a block.

        Args:
            block: a table with the columns ``index`` and ``data``, a pickled item.

        Returns:
            The same table with pickled results in place of the items. An item that failed has a :class:`Failed`, so
            the other results are not lost with it.
        """
        import pyarrow

        results = portal.run(self._answers, [pickle.loads(data) for data in block["data"].to_pylist()])
        data = pyarrow.array([_pickled(result) for result in results], pyarrow.large_binary())
        return pyarrow.table({"index": block["index"], "data": data})

    async def _answers(self, items: list[Any]) -> list[Any]:
        async def one(item: Any) -> Any:
            async with self._gate:
                try:
                    return await self._function()(item)
                except RelayError as error:
                    return Failed(error)

        return await asyncio.gather(*map(one, items))

    def _function(self) -> Callable[[Any], Awaitable[Any]]:
        """The function. It is unpickled for the first item, so that a spec that cannot be used fails like an answer."""
        with self._lock:
            if self._answer is None:
                self._answer = pickle.loads(self._pickled)
            return self._answer


def _pickled(result: Any) -> bytes:
    """A result as bytes. An error loses its transcript, its traceback and its causes, which another process may be
    unable to read."""
    if isinstance(result, Failed):
        result.error.transcript = None
    return pickle.dumps(result)
