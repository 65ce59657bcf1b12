"""The order of the problems in GRPO: a permutation for each epoch, which follows from the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trl.trainer.utils import RepeatSampler


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's sampler, for runs that resume.

    TRL's own generator starts with the first epoch's permutation in a run that resumes in a later epoch. The Trainer's
    ``set_epoch`` does not reach a sampler in several processes, so the epoch is derived from the step.

    Args:
        step: the number of optimizer steps so far; each batch of problems is used for ``repeat_count`` of them.
        arguments: those of ``RepeatSampler``.
    """

    def __init__(self, *, step: Callable[[], int], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._step = step

    def __iter__(self) -> Iterator[Any]:
        if self.shuffle:
            epoch = self._step() // max(1, self.num_samples // self.batch_size * self.repeat_count)
            self.generator.manual_seed(((self.seed or 0) * 1_000_003 + epoch) % 2**63)
        yield from super().__iter__()
