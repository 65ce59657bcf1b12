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


class Decoding(NamedTuple):
    """Requests that decode one token, computed together.

    ``rows``: the rows of their queries, shape [B]; ``None`` if they are all queries of the step. ``pages``: positions
    of their keys in the cache, padded to a common length, shape [B * length]. ``mask``: false on padding, shape
    [B, 1, 1, length].
    """

    rows: torch.Tensor | None
    pages: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """The keys to which the queries of a step attend.

    ``decoding``: the requests that decode one token, in groups of about the same length. ``reading``: every other
    request.
    """

    decoding: tuple[Decoding, ...]
    reading: tuple[Reading, ...]


LEAST_SAVED = 4096
"""Keys of padding that a further group has to save, since a group takes time of its own in each layer."""


def make_plan(ends_q: list[int], ends_k: list[int], read_index: torch.Tensor, window: int | None) -> Plan:
    """Make the plan of a step.

    Args:
        ends_q: cumulative counts of the requests' queries, beginning with 0.
        ends_k: cumulative counts of the requests' keys, which include all tokens so far.
        read_index: positions of all requests' keys in the cache.
        window: the number of tokens to which a query attends, including its own; ``None`` means all. Keys that are
            outside every query's window are left out.
    """
    decoding: list[tuple[int, int, int]] = []  # of each request: its number of keys, the first of them, and its row
    reading: list[Reading] = []
    for q, q_end, k, k_end in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False):
        if window is not None:
            k = max(k, k_end - (q_end - q) - window + 1)
        if q_end - q == 1 and k_end - k > 1:
            decoding.append((k_end - k, k, q))
        elif q_end > q:
            reading.append(Reading(q, q_end, k, k_end))
    groups = _groups(decoding)
    is_all = len(groups) == 1 and not reading
    return Plan(tuple(_decoding(group, read_index, is_all=is_all) for group in groups), tuple(reading))


def _groups(decoding: list[tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
    """Requests of about the same length, where that saves enough padding; one group is in the given order."""
    if not decoding:
        return []
    longest_first = sorted(decoding, reverse=True)
    groups: list[list[tuple[int, int, int]]] = [[]]
    for i, request in enumerate(longest_first):
        group = groups[-1]
        if group and (group[0][0] - request[0]) * (len(longest_first) - i) >= LEAST_SAVED:
            groups.append([request])
        else:
            group.append(request)
    return groups if len(groups) > 1 else [decoding]


def _decoding(group: list[tuple[int, int, int]], read_index: torch.Tensor, *, is_all: bool) -> Decoding:
    device = read_index.device
    lengths, starts, rows = zip(*group, strict=True)
    column = torch.arange(max(lengths), device=device)
    positions = (torch.tensor(starts, device=device).unsqueeze(1) + column).clamp_(max=len(read_index) - 1)
    mask = column < torch.tensor(lengths, device=device).unsqueeze(1)
    return Decoding(
        rows=None if is_all else torch.tensor(rows, device=device),
        pages=read_index[positions].flatten(),
        mask=mask[:, None, None, :],
    )


def causal_mask(new: int, total: int, window: int | None, device: torch.device) -> torch.Tensor:
    """A bool mask of shape [new, total]: to which of the ``total`` keys each of the last ``new`` tokens attends."""
    mask = torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)
    return mask if window is None else mask.triu(total - new - window + 1)
