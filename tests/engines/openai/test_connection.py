"""The HTTP connections to a real server."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from relay_core import OpenAIEngine, Relay, RelaySettings, bundled
from testing.scripted_server import answer
from testing.servers import scripted_server


async def test_a_connection_that_the_server_closes_is_not_used_again(tmp_path: Path) -> None:
    with scripted_server(tmp_path / "log", keep_alive_s=3) as url:
        student, teacher = (
            OpenAIEngine(role, f"{url}/v1", tokenizer=str(bundled.path("teacher")), retries=0)
            for role in ("student", "teacher")
        )
        relay = Relay(student, teacher, RelaySettings(on_teacher_stop="continue"))
        try:
            for batch in range(2):
                items = range(20 * batch, 20 * batch + 20)
                results = await asyncio.gather(*(relay.agenerate(f"Tell me of Item {item}.") for item in items))
                assert [result.text for result in results] == [answer(item) for item in items]
                assert not any(result.failures for result in results)
                if batch == 0:  # the server closes the connections while this event loop is blocked
                    time.sleep(3.3)
        finally:
            await student.aclose()
            await teacher.aclose()
