"""TRL's GRPO trainer, with forward and backward passes by a budget of tokens, and the same result on any number of
processes.

- TRL pads a rollout to its longest prompt and answer. This trainer sorts rows by length, passes on as many at a time as
  fit ``tokens_per_forward``, and cuts off the padding that is left; the loss is that of the whole batch.
- An answer without an advantage takes part in no pass where the loss has no term but the policy's (``beta`` is 0): it
  would change nothing.
- TRL shuffles a rollout's rows in each process before it divides them among the updates. Here update u trains on every
  ``updates``-th group, from group u on, and the order of the problems in epoch e follows from the seed and e alone. A
  run that resumes, and a run on several processes, train on the same rows.
- The log-probabilities of the sampler and the trainer are compared on every rollout.
- A loss that is not finite ends the run before the weights are changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.nn.functional import pad
from trl import GRPOTrainer

from relay_core.errors import TrainingError
from relay_core.train.epoch_sampler import EpochSampler
from relay_core.train.microbatches import loss_share, micro_batches, rows_of_update, select, silent_rows
from relay_core.train.trainer import PlainAttentionOnCPU, not_finite

Inputs = dict[str, Any]


class Gap(NamedTuple):
    """How far the sampler's and the trainer's log-probabilities of one answer's sampled tokens are apart, in nats."""

    mean: float
    max: float


OnRollout = Callable[[int, list[Gap], Callable[[str, float], None]], None]


class RelayGRPOTrainer(PlainAttentionOnCPU, GRPOTrainer):  # type: ignore[misc]
    """See the module.

    Args:
        tokens_per_forward: the most tokens of one pass, padding included.
        on_rollout: called in every process when a rollout is scored, with the step, the gaps of each of its answers
            (the mean and the largest absolute difference of the sampled tokens' log-probabilities between sampler and
            trainer), and a function that adds a figure to TRL's logs.
        arguments: those of ``GRPOTrainer``.
    """

    _buffered_inputs: Any

    def __init__(self, *arguments: Any, tokens_per_forward: int, on_rollout: OnRollout, **others: Any) -> None:
        self._tokens_per_forward, self._on_rollout = tokens_per_forward, on_rollout
        super().__init__(*arguments, **others)

    # -- data ----------------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        return EpochSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
            step=lambda: self.state.global_step,
        )

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        updates = self.args.steps_per_generation
        if self._step % (updates * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            rows = len(batch["completion_ids"])
            divided = [rows_of_update(u, updates, rows, self.num_generations) for u in range(updates)]
            self._buffered_inputs = [select(batch, torch.tensor(mine)) for mine in divided]
        return self._buffered_inputs[self._step % updates]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        if self.model.training:
            with torch.no_grad():
                gaps = self._gaps(output)
            self._on_rollout(self.state.global_step, gaps, self._log)
        return output

    def _log(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(value)

    def _gaps(self, output: Inputs) -> list[Gap]:
        """The gaps of each answer; with one update a rollout, TRL has computed no log-probabilities yet."""
        trainers = output.get("old_per_token_logps")
        if trainers is None:
            ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
            seen = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
            kept = output["completion_ids"].size(1)
            trainers = self._get_per_token_logps_and_entropies(self.model, ids, seen, kept)[0]
        samplers = output["sampling_per_token_logps"]
        mask = output["completion_mask"] * output.get("tool_mask", output["completion_mask"])
        known = mask.bool() & ~samplers.isnan()
        gap = torch.where(known, (trainers - samplers).abs(), 0.0)
        means = gap.sum(1) / known.sum(1).clamp(min=1)
        return [Gap(float(mean), float(most)) for mean, most in zip(means, gap.amax(1), strict=True)]

    # -- passes --------------------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One update: the loss of the whole batch, computed and differentiated pass by pass."""
        model.train()
        if callable(train := getattr(self.optimizer, "train", None)):
            train()
        inputs = self._prepare_inputs(inputs)
        passes = self._passes(inputs)
        total = torch.zeros((), device=self.accelerator.device)
        for number, rows in enumerate(passes, 1):
            part = select(inputs, torch.tensor(rows), trim=True)
            with (
                self.compute_loss_context_manager(),
                self._synchronizing(model, last=number == len(passes)),
                gathering_unequal_rows(self.accelerator),
            ):
                loss = self.compute_loss(model, part) * loss_share(part, inputs, self.loss_type)
                self.accelerator.backward(loss)
            total += loss.detach()
        self._step += 1
        if (
            not self.accelerator.reduce(torch.isfinite(total).float(), reduction="sum")
            == self.accelerator.num_processes
        ):
            raise TrainingError(not_finite("loss", self.state.global_step, self.args.output_dir))
        return total

    def _passes(self, inputs: Inputs) -> list[list[int]]:
        """The rows of each pass: all that change the weights, and as many others as it takes for all processes to make
        the same number of passes, at least one."""
        lengths = (inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1)).tolist()
        policy_alone = self.beta == 0 and not self._entropy_bonus_enabled and not self.aux_loss_enabled
        silent = silent_rows(inputs) if policy_alone else []
        rows = sorted({*range(len(lengths))} - {*silent})
        most = max(1, self._most([lengths[row] for row in rows]))
        rows += sorted(silent, key=lambda row: lengths[row])[: max(0, most - len(rows))]
        chosen = micro_batches([lengths[row] for row in rows], self._tokens_per_forward, at_least=most)
        return [[rows[i] for i in part] for part in chosen]

    def _most(self, lengths: list[int]) -> int:
        """The number of passes that the process with the most needs: some backends make all processes pass together."""
        mine = len(micro_batches(lengths, self._tokens_per_forward))
        if self.accelerator.num_processes == 1:
            return mine
        return int(self.accelerator.gather(torch.tensor([mine], device=self.accelerator.device)).max())

    @contextlib.contextmanager
    def _synchronizing(self, model: Any, *, last: bool) -> Iterator[None]:
        """Exchange gradients, and let DeepSpeed update, at the last pass only."""
        state = self.accelerator.gradient_state
        before = state.sync_gradients
        with contextlib.ExitStack() as stack:
            if not last:
                state._set_sync_gradients(False)
                if isinstance(model, torch.nn.parallel.DistributedDataParallel):
                    stack.enter_context(model.no_sync())
            try:
                yield
            finally:
                state._set_sync_gradients(before)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Replaces TRL's method: of (B, P + C) ids, the last C = ``logits_to_keep`` are answers; returns (B, C)."""
        inner = super()._get_per_token_logps_and_entropies
        if compute_aux_loss or any(value is not None for value in others.values()):
            return inner(  # type: ignore[no-any-return]
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                **others,
            )
        answers_at = input_ids.size(1) - logits_to_keep
        prompt_lengths, answer_lengths = attention_mask[:, :answers_at].sum(1), attention_mask[:, answers_at:].sum(1)
        lengths = (prompt_lengths + answer_lengths).tolist()
        # a batch of training_step is one pass already; others, without gradients, are divided alike in all processes
        budget = input_ids.numel() if torch.is_grad_enabled() else self._tokens_per_forward
        passes = micro_batches(lengths, budget, at_least=1 if torch.is_grad_enabled() else self._most(lengths))
        logps, entropies = [], []
        for rows in passes:
            longest_prompt, longest_answer = int(prompt_lengths[rows].max()), max(1, int(answer_lengths[rows].max()))
            kept = slice(answers_at - longest_prompt, answers_at + longest_answer)
            part_logps, part_entropies, _ = inner(
                model,
                input_ids[rows, kept],
                attention_mask[rows, kept],
                longest_answer,
                compute_entropy=compute_entropy,
            )
            padding = (0, logits_to_keep - longest_answer)
            logps.append(pad(part_logps, padding))
            if part_entropies is not None:
                entropies.append(pad(part_entropies, padding))
        original_order = torch.argsort(torch.tensor([row for rows in passes for row in rows], device=input_ids.device))
        return (
            torch.cat(logps)[original_order],
            torch.cat(entropies)[original_order] if entropies else None,
            None,
        )


@contextlib.contextmanager
def gathering_unequal_rows(accelerator: Any) -> Iterator[None]:
    """Let TRL gather one value per row for its figures, although each process has its own number of rows in a pass.

    The values are padded with NaN, which TRL leaves out. Without this, gloo ends the process, and NCCL waits forever.
    """
    gather = accelerator.gather

    def gather_padded(values: Any) -> Any:
        return gather(accelerator.pad_across_processes(values, dim=0, pad_index=float("nan")))

    accelerator.gather = gather_padded
    try:
        yield
    finally:
        del accelerator.gather
