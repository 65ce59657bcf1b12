"""What a fitted head is worth: its AUC beside that of the student's bare probability, as text and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core.evaluate.table import aligned
from relay_core.evaluate.task import Problem

#: what is compared on the other half, by its name in the report
SCORES = {
    "bare": "1 - top-1 probability", "features": "probabilities", "hidden": "hidden state", "both": "both (the head)",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fitted:
    """A head and what it is worth.

    ``folder``: where it is. ``aucs``: of each of :data:`SCORES` on held-out prompts. ``gain``: the interval of how much
    the head's AUC exceeds that of the bare probability. ``tokens``, ``wrong``: how many tokens it was fitted to, and
    how many of them were wrong. ``held_out``: the prompts that it was not fitted to. ``left_out``: how many prompts
    could not be used. ``margin``: as in :class:`HeadTuner`.
    """

    folder: str
    aucs: Mapping[str, float]
    gain: tuple[float, float]
    tokens: int
    wrong: int
    held_out: Sequence[Problem]
    left_out: int
    margin: float

    @property
    def is_better(self) -> bool:
        """Whether the head tells wrong tokens from right ones better than the bare probability does."""
        return self.gain[0] > 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "folder": self.folder,
            "auc": dict(self.aucs),
            "gain_interval": list(self.gain),
            "is_better": self.is_better,
            "tokens": self.tokens,
            "wrong": self.wrong,
            "margin": self.margin,
            "held_out": len(self.held_out),
            "left_out": self.left_out,
        }

    def text(self) -> str:
        """The AUCs as a table, and the sentence."""
        title = (
            f"fitted to {self.tokens} tokens, {self.wrong / self.tokens:.1%} of them wrong (more than {self.margin:g} "
            f"nats below the teacher's best); AUC on the tokens of {len(self.held_out)} held-out prompts"
        )
        rows = [[label, f"{self.aucs[name]:.3f}"] for name, label in SCORES.items()]
        return "\n".join([title, *aligned(rows), self.verdict()])

    def verdict(self) -> str:
        """Whether the head is better than the bare probability."""
        found = "better" if self.is_better else "no better"
        return (
            f"The head is {found} than the student's bare probability at finding these tokens: its AUC minus that of "
            f"1 - top-1 probability is between {self.gain[0]:+.3f} and {self.gain[1]:+.3f} (95%)."
        )
