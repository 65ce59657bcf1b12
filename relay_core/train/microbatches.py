"""Which rows of a rollout are computed together: pure functions over lengths and TRL's dictionaries of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def rows_of_update(update: int, updates: int, rows: int, group_size: int) -> list[int]:
    """The rows of every ``updates``-th group of neighbouring rows, from group ``update`` on."""
    return [row for row in range(rows) if row // group_size % updates == update]


def micro_batches(lengths: Sequence[int], budget: int, *, at_least: int = 1) -> list[list[int]]:
    """Divide rows into batches of similar length, each with at most ``budget`` tokens, padding included.

    A row that is longer than the budget is a batch of its own.

    Args:
        lengths: tokens of each row.
        budget: the most tokens of a batch: its rows times its longest row.
        at_least: the least number of batches; the largest ones are halved until there are as many (or until each holds
            one row).

    Returns:
        The indices of each batch's rows; the longest rows come last.
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        if batches and (len(batches[-1]) + 1) * lengths[row] <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    while len(batches) < min(at_least, len(lengths)):
        i = max(range(len(batches)), key=lambda b: len(batches[b]))
        half = len(batches[i]) // 2
        batches[i : i + 1] = [batches[i][:half], batches[i][half:]]
    return batches


def silent_rows(inputs: Mapping[str, Any]) -> list[int]:
    """The rows whose advantage is 0: those of a group whose answers all have the same reward.

    The advantage is a factor of each term of TRL's policy losses, so these rows have neither a loss nor a gradient. (A
    KL term, an entropy bonus and a router's auxiliary loss do not depend on the advantage.)
    """
    advantages = inputs["advantages"]
    silent = (advantages == 0).reshape(len(advantages), -1).all(1)
    return [row for row, is_silent in enumerate(silent.tolist()) if is_silent]


def select(inputs: Mapping[str, Any], rows: torch.Tensor, *, trim: bool = False) -> dict[str, Any]:
    """Some rows of all tensors that have rows.

    Args:
        inputs: TRL's scored rollout: prompts (B, P) padded on the left, and tensors over answers (B, C) padded on the
            right; other tensors are (B,), (B, 1) or scalars.
        rows: indices of rows.
        trim: whether to cut columns in which all of these rows are padding.
    """
    chosen = {
        name: value[rows.to(value.device)] if getattr(value, "ndim", 0) else value for name, value in inputs.items()
    }
    if not trim:
        return chosen
    width = inputs["completion_mask"].size(1)
    prompt = int(chosen["prompt_mask"].sum(1).max())
    answer = max(1, int(chosen["completion_mask"].sum(1).max()))
    for name, value in chosen.items():
        if name in ("prompt_ids", "prompt_mask"):
            chosen[name] = value[:, value.size(1) - prompt :]
        elif getattr(value, "ndim", 0) == 2 and value.size(1) == width:
            chosen[name] = value[:, :answer]
    return chosen


def loss_share(part: Mapping[str, Any], whole: Mapping[str, Any], loss_type: str) -> float:
    """The factor with which the loss of some rows enters the loss of the whole batch.

    TRL divides the sum over tokens by a count of the rollout (``dapo``, ``cispo``, ``vespo``), by the batch's tokens
    (``bnpo``), or takes a mean over the batch's rows (the others).
    """
    if loss_type in ("dapo", "cispo", "vespo"):
        return 1.0
    if loss_type == "bnpo":
        return float(_trained(part) / max(1, _trained(whole)))
    return len(part["completion_ids"]) / len(whole["completion_ids"])


def _trained(inputs: Mapping[str, Any]) -> int:
    mask = inputs["completion_mask"]
    return int((mask * inputs["tool_mask"] if "tool_mask" in inputs else mask).sum())
