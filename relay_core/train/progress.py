"""How far a stage is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any


class Progress:
    """Counts to ``total``; use as a context manager.

    Args:
        label: the stage.
        total: steps in all.
        done: steps that an earlier run did.
        every_s: seconds between plain lines.
    """

    def __init__(self, label: str, total: int, *, done: int = 0, every_s: float = 15.0) -> None:
        from rich.console import Console

        self._label, self._total, self._done = label, total, done
        self._every_s, self._said, self._began = every_s, 0.0, time.monotonic()
        self._console = Console(stderr=True)
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[note]}"), console=self._console)
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total, completed=self._done, note="")
        return self

    def step(self, note: str = "", *, n: int = 1, say: bool = False) -> None:
        """``n`` more are done. ``say``: print this one even where lines are rare."""
        self._done += n
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, **({"note": note} if note else {}))
        elif say or time.monotonic() - self._said > self._every_s or self._done == self._total:
            self._said = time.monotonic()
            seconds = self._said - self._began
            self._console.print(
                f"{self._label} {self._done}/{self._total} {seconds:.0f}s {note}".rstrip(),
                soft_wrap=True, highlight=False, markup=False,
            )  # fmt: skip

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
