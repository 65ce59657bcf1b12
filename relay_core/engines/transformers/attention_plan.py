"""Locates the queries and keys of a step's requests in the paged cache. All layers with the same window share a
plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch


class Reading(NamedTuple):
    """The new tokens of one request: the rows of its queries, and the range of its keys in the read index."""

    first_query: int
    end_of_queries: int
    first_key: int
    end_of_keys: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The keys to which the queries of a step attend.

    ``decoding``: rows of the queries of the B requests that decode one token, shape [B]; ``None`` if all rows are.
    ``pages``: positions of these requests' keys in the cache, padded to a common length, shape [B * length].
    ``mask``: false on padding, shape [B, 1, 1, length].
    ``reading``: every other request.
    """

    decoding: torch.Tensor | None
    pages: torch.Tensor
    mask: torch.Tensor
    reading: tuple[Reading, ...]


def make_plan(ends_q: list[int], ends_k: list[int], read_index: torch.Tensor, window: int | None) -> Plan:
    """Make the plan of a step.

    Args:
        ends_q: cumulative counts of the requests' queries, beginning with 0.
        ends_k: cumulative counts of the requests' keys, which include all tokens so far.
        read_index: positions of all requests' keys in the cache.
        window: the number of tokens to which a query attends, including its own; ``None`` means all. Keys that are
            outside every query's window are left out.
    """
    rows: list[int] = []
    starts: list[int] = []
    lengths: list[int] = []
    reading: list[Reading] = []
    for q, q_end, k, k_end in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False):
        if window is not None:
            k = max(k, k_end - (q_end - q) - window + 1)
        if q_end - q == 1 and k_end - k > 1:
            rows.append(q)
            starts.append(k)
            lengths.append(k_end - k)
        elif q_end > q:
            reading.append(Reading(q, q_end, k, k_end))
    device = read_index.device
    length = max(lengths, default=0)
    column = torch.arange(length, device=device)
    positions = torch.tensor(starts, device=device).unsqueeze(1) + column
    mask = column < torch.tensor(lengths, device=device).unsqueeze(1)
    pages = read_index[positions.clamp_(max=max(0, len(read_index) - 1))].flatten() if rows else read_index[:0]
    decoding = None if not reading else torch.tensor(rows, device=device)
    return Plan(decoding, pages, mask[:, None, None, :], tuple(reading))


def causal_mask(new: int, total: int, window: int | None, device: torch.device) -> torch.Tensor:
    """A bool mask of shape [new, total]: to which of the ``total`` keys each of the last ``new`` tokens attends."""
    mask = torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)
    return mask if window is None else mask.triu(total - new - window + 1)
