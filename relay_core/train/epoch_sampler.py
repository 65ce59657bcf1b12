"""The order of the rows in warm-up and of the problems in GRPO: a permutation for each epoch.

It follows from the seed and the epoch alone, so that a run that resumes, and a run on several processes, use the same
batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl.trainer.utils import RepeatSampler


def _seed(seed: int | None, epoch: int) -> int:
    return ((seed or 0) * 1_000_003 + epoch) % 2**63


class RowSampler(Sampler):  # type: ignore[misc]
    """Rows in random order, or in batches of similar length.

    Every batch is whole: the last one is filled with the epoch's first rows.

    Args:
        lengths: tokens of each row.
        batch: rows of an update, over all processes.
        grouped: whether the rows of a batch are of similar length.
        seed: the run's seed.
        step: the number of updates so far.
    """

    def __init__(
        self, lengths: Sequence[int], batch: int, *, grouped: bool, seed: int, step: Callable[[], int]
    ) -> None:
        self._lengths, self._batch, self._grouped = list(lengths), batch, grouped
        self._seed, self._step = seed, step

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._batch) * self._batch

    def __iter__(self) -> Iterator[int]:
        epoch = self._step() // max(1, len(self) // self._batch)
        generator = torch.Generator().manual_seed(_seed(self._seed, epoch))
        if self._grouped:
            rows = get_length_grouped_indices(self._lengths, self._batch, generator=generator)
        else:
            rows = torch.randperm(len(self._lengths), generator=generator).tolist()
        yield from islice(cycle(rows), len(self))


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
            self.generator.manual_seed(_seed(self.seed, epoch))
        yield from super().__iter__()
