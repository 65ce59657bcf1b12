"""Closing an engine whose resources are released by a blocking function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def close_in_thread(close: Callable[[], None]) -> None:
    """Run ``close`` in a thread of the event loop's executor.

    Executors accept no work while the interpreter exits (``atexit.register(relay.close)``). ``close`` then runs on the
    thread of the event loop, since nothing else needs the loop any more.
    """
    try:
        closing = asyncio.get_running_loop().run_in_executor(None, close)
    except RuntimeError:
        close()
    else:
        await closing
