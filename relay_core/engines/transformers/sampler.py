"""Sampling, stopping and delivery inside transformers' continuous batching loop; everything runs on the manager's
thread.

The manager's own logits processors do not support stop strings, seeds, or greedy and sampled requests in one batch, and
the manager computes log-probabilities after temperature. Therefore a single logits processor, :class:`Sampler`, samples
for the whole batch and masks all other logits, so that the manager's argmax returns the sampled token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor
from transformers.generation.continuous_batching.continuous_api import OutputRouter

from relay_core.engines.base import Finish, Sampling, Token
from relay_core.engines.request_check import GREEDY_BELOW
from relay_core.engines.transformers.biases import add_biases
from relay_core.engines.transformers.heads import HeadedRows, LastHidden
from relay_core.engines.transformers.masks import Masks
from relay_core.engines.transformers.request import Request, Ticket
from relay_core.errors import EngineError

REQUESTS_PER_BUFFERED_TOKEN = 2  # in a batch of n requests, a stream buffers up to n // 2 tokens
MAX_TEMPERATURE = 1e30  # gives a uniform distribution; a higher temperature may exceed float32
MAX_BUFFER_S = 0.2  # on two cores, about fifty requests reach this limit; a single request buffers nothing

Delivery = tuple[Request, list[Token], Finish | None]


class Sampler(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Samples each request's next token under that request's own settings, and sends it to its consumer.

    Args:
        cancel: cancels a submission, by its ticket's id, before the next step.
        device: the model's.
        masks: the masks of constrained requests.
        hidden: the model's hidden states, for requests with a head.
    """

    supported_kwargs: dict[str, type] = {"ticket": Ticket}  # noqa: RUF012 - as the base class has it
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, cancel: Callable[[str], None], device: torch.device, masks: Masks, hidden: LastHidden) -> None:
        self._cancel, self._masks, self._hidden = cancel, masks, hidden
        self._tickets: list[Ticket] = []
        self._device = device
        self._generator = torch.Generator(device)  # not torch's global generator, which belongs to the user
        self._generator.seed()

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        self._tickets = [future.state.logit_processor_kwargs["ticket"] for future in requests_with_new_token]
        if any(ticket.request.head is not None for ticket in self._tickets):
            self._hidden.listen()
        return torch.zeros(len(self._tickets), dtype=torch.int32)

    def __call__(self, scores: torch.FloatTensor, tensor_arg: torch.Tensor) -> torch.FloatTensor:
        tickets, self._tickets = self._tickets, []
        rows = scores[: len(tickets)]  # the rows after these belong to prompts that are still being read
        if not tickets:
            return scores
        normalizers = rows.logsumexp(-1)  # log-probabilities are computed before constraints are applied
        wants_top = any(ticket.request.sampling.top_logprob for ticket in tickets)
        tops = rows.amax(-1) - normalizers if wants_top else None
        headed = self._headed(tickets, scores, normalizers)
        biased = add_biases(rows, [ticket.request.sampling.logit_bias for ticket in tickets])
        held = [i for i, ticket in enumerate(tickets) if ticket.request.grammar is not None]
        if held:
            self._hold(rows, tickets, held)
        chosen = rows.argmax(-1)
        sampled = [i for i, ticket in enumerate(tickets) if ticket.request.sampling.temperature >= GREEDY_BELOW]
        if sampled:
            chosen[sampled] = self._sample(rows, [tickets[i].request for i in sampled], sampled)
        if biased is not None:
            biased.undo(rows)
        logprobs = rows.gather(-1, chosen.unsqueeze(-1)).squeeze(-1) - normalizers
        if processed := [i for i in sampled if tickets[i].request.sampling.processed_logprobs]:
            scaled = _scaled(rows[processed], [tickets[i].request.sampling for i in processed]).log_softmax(-1)
            logprobs[processed] = scaled.gather(-1, chosen[processed].unsqueeze(-1)).squeeze(-1)
        if sampled or held or biased is not None:
            rows.scatter_(-1, chosen.unsqueeze(-1), torch.inf)  # so that the manager's argmax picks the same ids
        by_heads = [None] * len(tickets) if headed is None else headed.probabilities(logprobs)
        self._deliver(
            tickets, chosen.tolist(), logprobs.tolist(), (logprobs if tops is None else tops).tolist(), by_heads
        )
        if held:
            running = [tickets[i].request.grammar for i in held if tickets[i].is_current]
            self._masks.prepare([grammar for grammar in running if grammar is not None])
        return scores

    def _headed(self, tickets: list[Ticket], scores: torch.Tensor, normalizers: torch.Tensor) -> HeadedRows | None:
        """The rows whose requests carry a head; ``None`` without such rows. If the hidden states are not there, these
        requests fail."""
        heads = [ticket.request.head for ticket in tickets]
        if all(head is None for head in heads):
            return None
        try:
            return HeadedRows(heads, scores[: len(tickets)], normalizers, self._hidden.take(), len(scores))
        except EngineError as error:
            for ticket, head in zip(tickets, heads, strict=True):
                if head is not None:
                    ticket.fail(error)
                    self._cancel(ticket.id)
            return None

    def _hold(self, rows: torch.Tensor, tickets: list[Ticket], held: list[int]) -> None:
        """Forbid the tokens that the constraints of the rows ``held`` exclude; a grammar that has failed ends its
        request."""
        grammars = [(i, tickets[i].request.grammar) for i in held if tickets[i].is_current]
        for i, error in self._masks.apply(rows, [(i, grammar) for i, grammar in grammars if grammar is not None]):
            tickets[i].fail(error)
            self._cancel(tickets[i].id)

    def _sample(self, rows: torch.Tensor, requests: list[Request], indices: list[int]) -> torch.Tensor:
        """Ids drawn from ``rows[indices]`` under each request's temperature, top_k and top_p; shape [len(indices)]."""
        settings = [request.sampling for request in requests]
        logits = rows if len(indices) == len(rows) else rows[indices]
        logits = _scaled(logits, settings)
        if any(s.top_k or s.top_p < 1 for s in settings):
            logits = _mask_by_top_k_and_top_p(logits, settings)
        # argmax of p / e with e ~ Exp(1) is a draw from p (the exponential race)
        return (logits.softmax(-1) / self._noise(logits, requests)).argmax(-1)

    def _noise(self, logits: torch.Tensor, requests: list[Request]) -> torch.Tensor:
        """Exponential noise for each row: a request with a seed draws its own, the others share a generator.

        On a CPU, drawing takes as long as a tenth of a small model's pass, so no row draws twice.
        """
        noise = torch.empty_like(logits)
        if all(request.sampling.seed is None for request in requests):
            return noise.exponential_(generator=self._generator)
        for row, request in zip(noise, requests, strict=True):
            generator = self._generator
            if request.sampling.seed is not None:
                if request.generator is None:
                    request.generator = torch.Generator(self._device).manual_seed(request.sampling.seed)
                generator = request.generator
            row.exponential_(generator=generator)
        return noise

    def _deliver(
        self,
        tickets: list[Ticket],
        ids: list[int],
        logprobs: list[float],
        top_logprobs: list[float],
        by_heads: Sequence[float | None],
    ) -> None:
        """Append each sampled token to its request and send what is due.

        In a large batch, waking a consumer takes about half as long as computing a token, so its streams buffer several
        tokens. The end of a stream is sent immediately, so that no hand-over waits.
        """
        by_loop: dict[asyncio.AbstractEventLoop, list[Delivery]] = {}
        now, max_buffered = time.monotonic(), len(tickets) // REQUESTS_PER_BUFFERED_TOKEN
        tokens = zip(tickets, ids, logprobs, top_logprobs, by_heads, strict=True)
        for ticket, token_id, logprob, top, by_head in tokens:
            if not ticket.is_current:
                continue
            request = ticket.request
            try:
                finish = request.accept(token_id, logprob, top if request.sampling.top_logprob else None, by_head)
            except Exception as error:  # decoding failed: this ends only this request, not others of the batch
                ticket.fail(error)
                self._cancel(ticket.id)
                continue
            if request.is_cut_short(finish):
                self._cancel(ticket.id)
            if finish is None and len(request.unsent) <= max_buffered and now - request.sent_at < MAX_BUFFER_S:
                continue
            by_loop.setdefault(request.loop, []).append((request, request.unsent, finish))
            request.unsent, request.sent_at = [], now
        for loop, deliveries in by_loop.items():
            try:
                loop.call_soon_threadsafe(_receive, deliveries)
            except RuntimeError:  # the loop is closed, so no consumer waits for these tokens
                for request, _, _ in deliveries:
                    if request.ticket is not None:
                        self._cancel(request.ticket.id)


def _receive(deliveries: list[Delivery]) -> None:
    for request, tokens, finish in deliveries:
        request.receive(tokens, finish)


def _scaled(logits: torch.Tensor, settings: list[Sampling]) -> torch.Tensor:
    """The logits of some rows, divided by the temperature of each."""
    if all(s.temperature == 1 for s in settings):
        return logits
    temperatures = [min(s.temperature, MAX_TEMPERATURE) for s in settings]
    # the largest logit becomes 0, so that no temperature makes it infinite
    return (logits - logits.amax(-1, keepdim=True)) / torch.tensor(temperatures, device=logits.device).unsqueeze(-1)


def _mask_by_top_k_and_top_p(logits: torch.Tensor, settings: list[Sampling]) -> torch.Tensor:
    """The logits, with -inf for tokens that a row's top_k or top_p excludes; top_p applies to the tokens that top_k
    keeps.

    At least one token of each row remains.
    """
    size = logits.shape[-1]
    ordered, order = logits.sort(dim=-1, descending=True)
    top_k = torch.tensor([min(s.top_k or size, size) for s in settings], device=logits.device).unsqueeze(-1)
    rank = torch.arange(size, device=logits.device)
    ordered = ordered.masked_fill(rank >= top_k, -torch.inf)
    top_p = torch.tensor([s.top_p for s in settings], device=logits.device, dtype=logits.dtype).unsqueeze(-1)
    probs = ordered.softmax(-1)
    excluded = (probs.cumsum(-1) - probs >= top_p) & (top_p < 1) & (rank > 0)
    ordered = ordered.masked_fill(excluded, -torch.inf)
    return torch.empty_like(logits).scatter_(-1, order, ordered)


class Router(OutputRouter):  # type: ignore[misc]
    """Receives the manager's results. :class:`Sampler` has already sent all tokens, so only failures matter here."""

    def deliver(self, output: object) -> None:
        """Ignore a finished request."""

    def deliver_batch(self, outputs: list[Any]) -> None:
        """Ignore finished requests."""

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        """Tell the consumer that its request has failed."""
        ticket: Ticket = state.logit_processor_kwargs["ticket"]
        ticket.fail(error)
