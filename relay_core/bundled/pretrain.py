"""The training loop of the teacher and the base student: from random weights, in float32, on the CPU.

Muon trains the layers' matrices, and AdamW all other weights. The learning rates rise over the warm-up, stay constant,
and fall linearly to zero. A checkpoint holds the model, the optimizers and the position in the corpus, so a killed run
resumes from its last checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core.bundled import corpus
from relay_core.bundled.examples import IGNORED, Example
from relay_core.bundled.initial_model import new_model
from relay_core.bundled.pretrain_recipe import PretrainRecipe

Report = Callable[[int, float, float], None]


@dataclass
class Run:
    """The state of a training run between two steps: the model, its optimizers, and its progress.

    ``seconds`` is the training time before this process started; ``position`` is the next batch of the corpus.
    """

    model: Any
    optimizers: tuple[Any, ...]
    step: int = 0
    seconds: float = 0.0
    position: corpus.Position = (0, 0)

    @classmethod
    def start(cls, recipe: PretrainRecipe, tokenizer: Any, seed: int, checkpoint: Path) -> Run:
        """The run that ``checkpoint`` holds if the file exists, otherwise a new run with new weights."""
        import torch

        from relay_core.bundled.muon import Muon

        model = new_model(recipe, tokenizer, seed)
        matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
        muon = Muon(matrices, lr=recipe.matrix_lr)
        adamw = torch.optim.AdamW(others, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        run = cls(model, (muon, adamw))
        if checkpoint.exists():
            run.restore(torch.load(checkpoint, weights_only=True))
        return run

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.model.load_state_dict(state["model"])
        for optimizer, optimizer_state in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)
        self.step, self.seconds, self.position = state["step"], state["seconds"], state["position"]

    def save(self, checkpoint: Path, seconds: float) -> None:
        """Write a checkpoint; a reader sees the previous file or the complete new one.

        Args:
            checkpoint: the file.
            seconds: the training time so far, including that of earlier processes.
        """
        import torch

        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "position": self.position,
            "seconds": seconds,
        }
        temporary = checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, checkpoint)

    def train_on(self, ids: Any, labels: Any, learning_rates: Sequence[float]) -> float:
        """One optimizer step on a batch; returns the batch's loss.

        Args:
            ids: token ids, shape (texts, tokens).
            labels: labels, in the shape of ``ids``; ``IGNORED`` for tokens without loss.
            learning_rates: the learning rate of each optimizer.
        """
        import torch

        for optimizer, learning_rate in zip(self.optimizers, learning_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        loss = loss_of(self.model, ids, labels)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        return float(loss.item())


def train(
    recipe: PretrainRecipe,
    tokenizer: Any,
    *,
    seed: int,
    folder: Path,
    checkpoint_s: float = 60.0,
    report_every: int = 25,
    report: Report = lambda step, loss, seconds: None,
) -> Any:
    """Train until the recipe's last step, from the checkpoint in ``folder`` if there is one; returns the model.

    Args:
        recipe: sizes and schedule.
        tokenizer: a transformers tokenizer.
        seed: the seed of the weights and the corpus.
        folder: the folder of the checkpoint; it is created if it does not exist.
        checkpoint_s: seconds between two checkpoints.
        report_every: steps between two reports.
        report: called with the step, the mean loss since the last report and the seconds trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    run = Run.start(recipe, tokenizer, seed, checkpoint)
    began, saved_at = time.monotonic() - run.seconds, time.monotonic()
    losses: list[float] = []
    run.model.train()
    batches = corpus.batches(tokenizer, recipe.role, seed, recipe.batch_tokens, start=run.position)
    while run.step < recipe.steps:
        rate = recipe.rate(run.step)
        batch, run.position = next(batches)
        ids, labels = tensors(batch, tokenizer.pad_token_id)
        losses.append(run.train_on(ids, labels, (recipe.matrix_lr * rate, recipe.lr * rate)))
        is_last = run.step == recipe.steps
        if run.step % report_every == 0 or is_last:
            report(run.step, sum(losses) / len(losses), time.monotonic() - began)
            losses.clear()
        if time.monotonic() - saved_at > checkpoint_s or is_last:
            run.save(checkpoint, time.monotonic() - began)
            saved_at = time.monotonic()
    return run.model.eval()


def tensors(batch: list[Example], pad: int) -> tuple[Any, Any]:
    """Ids and labels, shape (texts, tokens), padded on the right so that causal attention needs no mask."""
    import torch

    width = max(len(example.ids) for example in batch)
    ids = torch.full((len(batch), width), pad)
    labels = torch.full((len(batch), width), IGNORED)
    for i, example in enumerate(batch):
        ids[i, : len(example.ids)] = torch.tensor(example.ids)
        labels[i, : len(example.labels)] = torch.tensor(example.labels)
    return ids, labels


def loss_of(model: Any, ids: Any, labels: Any) -> Any:
    """Cross-entropy of the labelled tokens; logits are computed for these tokens only."""
    import torch.nn.functional as F

    targets = labels[:, 1:]
    labelled = targets != IGNORED
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    return F.cross_entropy(model.lm_head(hidden[labelled]), targets[labelled])
