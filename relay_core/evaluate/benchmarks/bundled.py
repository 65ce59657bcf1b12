r"""The bundled task as benchmarks: itself, the family that no bundled model was trained on, and its retrieval form.

A problem:

    A lamp costs 12 coins. ... What do 7 lamps cost?        right answer: 84, which the text must box: \\boxed{84}

The problems are made, not read. Settings and samples are free.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from relay_core.bundled.task import HELD_OUT, BundledTask, WordProblem, demo_problems
from relay_core.errors import ConfigurationError
from relay_core.evaluate.grading.final_answer import final_answer


class Bundled(BundledTask):
    """The bundled task, in the shares 40% easy, 50% medium and 10% hard."""

    title = "Bundled"
    samples = 1
    settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, *, data_dir: str | Path | None = None) -> None:
        """``data_dir`` is not used: nothing is read."""

    def answer_in(self, text: str) -> str | None:
        r"""The content of the last `\\boxed{...}`."""
        return final_answer(text) if "\\boxed" in text else None


class BundledForm(Bundled):
    """Problems of one kind, of the split ``test``."""

    kind: ClassVar[Mapping[str, Any]] = {}

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> list[WordProblem]:
        """Draw ``n`` problems in exact shares.

        Raises:
            ConfigurationError: the split is not ``test``, ``n`` is missing, or there is a ``mix``.
        """
        if split != "test" or n is None or mix is not None:
            raise ConfigurationError(f"{self.name}: write the split test, the number of problems, and no mix of groups")
        return demo_problems(n, seed=seed, **self.kind)


class BundledUnseen(BundledForm):
    """The family that no bundled model was trained on."""

    name = "bundled-unseen"
    title = "Bundled, unseen family"
    kind: ClassVar[Mapping[str, Any]] = {"family": HELD_OUT}


class BundledRetrieval(BundledForm):
    """The fact of each problem stands among retrieved chunks."""

    name = "bundled-retrieval"
    title = "Bundled, retrieval"
    kind: ClassVar[Mapping[str, Any]] = {"form": "context"}
