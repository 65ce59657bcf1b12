"""An engine is closed in a thread, or at once while the interpreter exits."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from relay_core.engines.closing import close_in_thread

AT_EXIT = """
import atexit, sys
from relay_core import Relay, RelaySettings

relay = Relay("bundled", "bundled:teacher", settings=RelaySettings(max_tokens=8))
if sys.argv[1] == "used":
    assert relay.generate("What is 3 + 4?").text
atexit.register(relay.close)
atexit.register(lambda: print("closing"))
"""


async def test_the_event_loop_goes_on_while_an_engine_closes() -> None:
    threads: list[threading.Thread] = []
    await close_in_thread(lambda: threads.append(threading.current_thread()))
    assert threads[0] is not threading.current_thread()


async def test_an_error_of_closing_is_raised_once() -> None:
    calls = []

    def fails() -> None:
        calls.append(1)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await close_in_thread(fails)
    assert calls == [1]


@pytest.mark.parametrize("state", ["used", "unused"])
def test_a_relay_closes_at_exit(state: str) -> None:
    done = subprocess.run([sys.executable, "-c", AT_EXIT, state], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closing\n", "")
