"""The progress of a stage: a bar on a terminal, and elsewhere a plain line every few seconds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any


class Progress:
    """Counts steps up to a total; a context manager.

    Args:
        label: the stage's name.
        total: the number of steps.
        done: the steps that an earlier, killed run did.
        every_s: seconds between plain lines.
        shown: ``False`` shows nothing, as in all processes of a run but one.
        bar: ``False`` writes lines to a terminal, too.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        done: int = 0,
        every_s: float = 15.0,
        shown: bool = True,
        bar: bool = True,
    ) -> None:
        from rich.console import Console

        self._label, self._total, self._done = label, total, done
        self._every_s, self._printed_at, self._began = every_s, 0.0, time.monotonic()
        self._console = Console(stderr=True, quiet=not shown)
        self._bar: Any = None
        self._has_bar = bar and self._console.is_terminal

    def __enter__(self) -> Progress:
        if self._has_bar:
            self._bar = self._new_bar()
            self._bar.start()
        return self

    def _new_bar(self) -> Any:
        """A bar of rich's, which is not started yet."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Bar(*columns, TextColumn("{task.fields[note]}"), console=self._console)
        self._row = bar.add_task(self._label, total=self._total, completed=self._done, note="")
        return bar

    def step(self, note: str = "") -> None:
        """Count one more step, and show ``note`` beside the count."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._row, completed=self._done, **({"note": note} if note else {}))
        elif time.monotonic() - self._printed_at > self._every_s or self._done == self._total:
            self._printed_at = time.monotonic()
            seconds = self._printed_at - self._began
            self._console.print(
                f"{self._label} {self._done}/{self._total} {seconds:.0f}s {note}".rstrip(),
                soft_wrap=True, highlight=False, markup=False,
            )  # fmt: skip

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
