"""The progress of a build: on a terminal, a bar for each training process; elsewhere, lines of text."""

from __future__ import annotations

import json
import threading
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class BuildProgress:
    """Reads the JSON lines of training processes and shows the progress of each process.

    Use it as a context manager. A normal exit waits until every followed stream has ended; an exception does not.
    """

    def __init__(self) -> None:
        self._console = Console()
        self._threads: list[threading.Thread] = []
        self._bars = Progress(
            TextColumn("{task.description:14}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  loss {task.fields[loss]:.3f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> BuildProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            for thread in self._threads:
                thread.join()
        self._bars.stop()

    def follow(self, name: str, lines: IO[str], *, steps: int) -> None:
        """Show the progress of a process in the background, until its output ends.

        Args:
            name: the name of the model.
            lines: the output of the process; each line is a JSON object with ``step``, ``of``, ``loss`` and ``s``.
            steps: the total number of steps.
        """
        bar = self._bars.add_task(name, total=steps, loss=float("nan"))
        thread = threading.Thread(target=self._read, args=(name, lines, bar), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _read(self, name: str, lines: IO[str], bar: Any) -> None:
        for text in lines:
            line = json.loads(text)
            self._bars.update(bar, completed=line["step"], loss=line["loss"])
            if not self._console.is_terminal:
                print(f"{name} {line['step']}/{line['of']} loss {line['loss']} {line['s']}s", flush=True)
