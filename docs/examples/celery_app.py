"""Answers as Celery tasks: each worker process loads the models once, after Celery has forked it.

    cd docs/examples
    celery -A celery_app worker --concurrency 2

CELERY_BROKER and CELERY_RESULTS are the URLs of Celery's broker and of its results.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from relay_core import Relay, RelaySettings

app = Celery("answers", broker=os.environ["CELERY_BROKER"], backend=os.environ.get("CELERY_RESULTS"))
app.conf.worker_proc_alive_timeout = 120  # seconds in which a process must load its models; Celery's default is 4
app.conf.worker_prefetch_multiplier = 1  # an answer takes seconds: let an idle process have the next task
relay: Relay


@worker_process_init.connect
def load(**_: Any) -> None:
    """Load the models in the new process."""
    global relay
    relay = Relay(settings=RelaySettings(deadline_s=60))
    asyncio.run(relay.start())


@worker_process_shutdown.connect
def close(**_: Any) -> None:
    relay.close()


@app.task
def answer(question: str) -> str:
    return relay.generate(question).text
