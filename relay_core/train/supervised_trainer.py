"""TRL's trainer for the supervised stages.

The order of its rows survives a resume, and does not depend on the number of processes.
"""

from __future__ import annotations

from typing import Any

from trl import SFTTrainer

from relay_core.train.epoch_sampler import RowSampler
from relay_core.train.trainer import PlainAttentionOnCPU


class SupervisedTrainer(PlainAttentionOnCPU, SFTTrainer):  # type: ignore[misc]
    """See the module. ``train_sampling_strategy`` may be ``random`` or ``group_by_length``; others are TRL's own."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        strategy = self.args.train_sampling_strategy
        if strategy not in ("random", "group_by_length"):
            return super()._get_train_sampler(train_dataset)
        dataset = self.train_dataset if train_dataset is None else train_dataset
        args = self.args
        return RowSampler(
            [len(ids) for ids in dataset["input_ids"]],
            args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            grouped=strategy == "group_by_length",
            seed=args.seed,
            step=lambda: self.state.global_step,
        )
