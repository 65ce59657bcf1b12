"""Many questions in several processes, each with models of its own.

    python docs/examples/worker_pool.py --workers 2 "A pen costs 62 coins. …" "…"

RELAY_STUDENT and RELAY_TEACHER name the two models; without them, the bundled pair answers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from relay_core import Relay, RelayError, RelaySettings

relay: Relay  # one for each worker


def start_worker() -> None:
    """Build this worker's relay. Its models are loaded with the first answer."""
    global relay
    student, teacher = os.environ.get("RELAY_STUDENT", "bundled"), os.environ.get("RELAY_TEACHER", "bundled")
    relay = Relay(student, teacher, RelaySettings(deadline_s=60))


def answer(questions: Sequence[str]) -> list[str]:
    """Answer some questions in a worker; an error stands in its question's place."""
    results = relay.batch(questions, return_exceptions=True)
    return [f"error: {result}" if isinstance(result, RelayError) else result.text for result in results]


def answers(questions: Sequence[str], *, workers: int, start_method: str = "spawn", chunk: int = 32) -> Iterator[str]:
    """The answers, in order. Each task is a chunk of questions, which a worker's models read together."""
    context = multiprocessing.get_context(start_method)
    chunks = [questions[i : i + chunk] for i in range(0, len(questions), chunk)]
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool:
        for texts in pool.map(answer, chunks):
            yield from texts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=32, help="questions a task")
    parser.add_argument("--start-method", choices=multiprocessing.get_all_start_methods(), default="spawn")
    options = parser.parse_args()
    for text in answers(
        options.questions, workers=options.workers, start_method=options.start_method, chunk=options.chunk
    ):
        print(text)


if __name__ == "__main__":  # a spawned worker imports this file
    main()
