"""The progress of GRPO: on a terminal, a live table of the last rollouts' figures; elsewhere a line a rollout."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from relay_core.evaluate.progress import Progress

_ROLLOUTS = 8
_PADDING = 2  # columns of the terminal beside each cell
#: the table's columns: heading, name of the figure, format
_COLUMNS = (
    ("accuracy", "accuracy", ".3f"),
    ("reward", "reward", ".2f"),
    ("called", "called", ".0%"),
    ("ratio", "call_ratio", ".1%"),
    ("calls", "calls", ".2f"),
    ("n", "requested", ".1f"),
    ("received", "received", ".1f"),
    ("solvable", "groups/student-solvable", ".0%"),
    ("dependent", "groups/teacher-dependent", ".0%"),
    ("unsolvable", "groups/teacher-unsolvable", ".0%"),
    ("cut", "truncated", ".0%"),
    ("dropped", "dropped", ".0%"),
    ("teacher s", "teacher_seconds/mean", ".2f"),
    ("tokens/s", "tokens_per_s", ",.0f"),
    ("gap", "sampler_gap/max", ".1e"),
)


class LiveTable(Progress):
    """Counts rollouts, as :class:`Progress` does, and shows the figures of the last ones; a context manager."""

    def __init__(self, label: str, total: int, *, done: int = 0, every_s: float = 15.0) -> None:
        super().__init__(label, total, done=done, every_s=every_s)
        self._last: deque[tuple[int, Mapping[str, float]]] = deque(maxlen=_ROLLOUTS)
        self._live: Any = None

    def __enter__(self) -> LiveTable:
        if self._console.is_terminal:
            from rich.live import Live

            self._bar = self._new_bar()
            self._live = Live(self._view(), console=self._console, refresh_per_second=2)
            self._live.start()
        return self

    def show(self, figures: Mapping[str, float]) -> None:
        """Show a rollout's figures, once the rollout is scored; the updates that follow are counted by ``step``."""
        self._last.append((self._done + 1, figures))
        self._refresh()

    def step(self, note: str = "") -> None:
        """Count one more rollout; ``note`` stands beside the count unless there is a table."""
        super().step("" if self._live is not None and self._last else note)
        self._refresh()

    def table(self) -> Any:
        """The table of the last rollouts, without empty columns and without the last columns that do not fit."""
        from rich import box
        from rich.table import Table

        columns = [["rollout", *(str(number) for number, _ in self._last)]]
        for heading, name, style in _COLUMNS:
            cells = [format(f[name], style) if name in f else "-" for _, f in self._last]
            if any(name in figures for _, figures in self._last):
                columns.append([heading, *cells])
        while sum(max(map(len, column)) + _PADDING for column in columns) > self._console.width:
            columns.pop()
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        headings, *rows = zip(*columns, strict=True)
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        return table

    def _view(self) -> Any:
        from rich.console import Group

        return Group(self.table(), self._bar) if self._last else self._bar

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._view())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
