"""An async generator that runs on one event loop and is read on another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from relay_core.errors import EngineError

T = TypeVar("T")


async def run_on(loop: asyncio.AbstractEventLoop, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield on the current event loop the items of ``source``, which runs on ``loop``.

    Closing this generator cancels and closes ``source`` on its own loop, without waiting for it. Exceptions of
    ``source`` are raised here.

    Raises:
        EngineError: ``loop`` is not running, or was stopped while ``source`` ran on it.
    """
    if not loop.is_running():
        await source.aclose()
        raise EngineError("the engine's event loop has ended: start the engine again")
    reader_loop = asyncio.get_running_loop()
    buffer: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()

    def send(item: tuple[T] | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the reader's loop may already be closed
            reader_loop.call_soon_threadsafe(buffer.put_nowait, item)

    async def pump() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    send((item,))
            send(None)
        except asyncio.CancelledError:
            send(EngineError("the engine's event loop was stopped"))  # never read if the reader cancelled
            raise
        except BaseException as error:
            send(error)

    pumping = asyncio.run_coroutine_threadsafe(pump(), loop)
    try:
        while (item := await buffer.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        pumping.cancel()
