"""Sampling, stopping and delivery inside transformers' continuous batching loop.

The manager's own warpers know no stop strings, no seeds and no greedy request beside a sampled one, and its
log-probabilities are those after temperature. So one logits processor, :class:`Sampler`, does all of it for a whole
batch at once and leaves the manager's argmax nothing to decide. Everything here but :class:`Request`'s receiving
half runs on the manager's thread. The engine around it is in ``transformers.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor
from transformers.generation.continuous_batching.continuous_api import OutputRouter

from relay_core.engines.base import Chunk, EngineUsage, Finish, Sampling, Token
from relay_core.errors import EngineError
from relay_core.tokenizer import Tokenizer

REQUESTS_PER_WAIT = 2  # in a batch of n requests, a token waits for up to n // 2 others of its stream
LONGEST_WAIT_S = 0.2  # met from some fifty requests on, on two cores; one alone never waits

Delivery = tuple["Request", list[Token], Finish | None]


class Request:
    """One stream: what is asked, what has come, and who waits for it.

    Args:
        loop: the event loop of the consumer.
        prompt_ids: the prompt.
        limit: at most so many tokens; may be lowered while it runs (:meth:`shorten`).
        end_ids: the model's end tokens.
    """

    __slots__ = (
        "_arrived",
        "_decoder",
        "_error",
        "_finish",
        "_given",
        "_longest",
        "_tail",
        "_waiter",
        "cached",
        "count",
        "end_ids",
        "generator",
        "ids",
        "limit",
        "loop",
        "over",
        "prompt_length",
        "sampling",
        "sent_at",
        "shortened",
        "ticket",
        "waiting",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tokenizer: Tokenizer,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        limit: int,
        end_ids: frozenset[int],
    ) -> None:
        self.loop, self.sampling, self.limit, self.end_ids = loop, sampling, limit, end_ids
        self.ids = list(prompt_ids)  # grows by what is generated
        self.prompt_length = len(self.ids)
        self.count = 0
        self.shortened = False  # the manager was asked for more
        self.cached: int | None = None  # prompt tokens that the prefix cache had
        self.over = False
        self.waiting: list[Token] = []  # sampled, not sent yet
        self.sent_at = 0.0
        self.ticket: Ticket | None = None
        self.generator: torch.Generator | None = None
        self._decoder = tokenizer.decoder(self.ids)
        self._longest = max(map(len, sampling.stop), default=0)
        self._tail = ""
        self._arrived: list[Token] = []
        self._given = 0
        self._finish: Finish | None = None
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    # -- on the manager's thread ---------------------------------------------------------------------------

    def accept(self, token_id: int, logprob: float) -> Finish | None:
        """Take a sampled token: its text, and whether the stream ends with it."""
        self.count += 1
        self.ids.append(token_id)
        if token_id in self.end_ids:
            self.over = True
            self.waiting.append(Token(token_id, "", logprob))
            return Finish.END
        text = self._decoder.step(token_id)
        self.waiting.append(Token(token_id, text, logprob))
        finish = Finish.LENGTH if self.count >= self.limit else None
        if self._longest and text:
            text = self._tail + text
            if any(stop in text for stop in self.sampling.stop):
                finish = Finish.STOP
            self._tail = text[-self._longest :]
        self.over = finish is not None
        return finish

    # -- on the consumer's loop ----------------------------------------------------------------------------

    def receive(self, tokens: list[Token], finish: Finish | None, error: BaseException | None = None) -> None:
        """Take a delivery and wake the consumer."""
        self._arrived += tokens
        self._finish = finish
        self._error = error or self._error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def shorten(self, limit: int) -> None:
        """At most so many tokens after all; what came beyond is not given out."""
        self.shortened, self.limit = True, min(limit, self.limit)

    async def next(self) -> Chunk:
        """All that came since the last time, at least one token or the end.

        Raises:
            EngineError: the manager failed, or was closed.
        """
        while not self._arrived and self._finish is None:
            if self._error is not None:
                raise self._error
            self._waiter = self.loop.create_future()
            await self._waiter
        tokens, self._arrived = self._arrived, []
        finish, end = self._finish, tokens.pop() if self._finish is Finish.END else None
        if self.shortened and len(tokens) >= self.limit - self._given:
            tokens, finish, end = tokens[: self.limit - self._given], Finish.LENGTH, None
        self._given += len(tokens)
        if finish is None:
            return Chunk(tokens)
        usage = EngineUsage(self.prompt_length, self.cached, self._given + (end is not None))
        return Chunk(tokens, finish, end, usage)

    @property
    def wasted(self) -> int:
        """Tokens sampled and not given out, the end token of a whole answer apart."""
        return max(0, self.count - self._given - (self._finish is Finish.END and self._given < self.limit))


class Ticket:
    """One submission of a request to the manager; a request whose work is begun anew gets another."""

    __slots__ = ("id", "request")

    def __init__(self, request: Request, request_id: str) -> None:
        self.request, self.id = request, request_id

    def __deepcopy__(self, memo: object) -> Ticket:
        return self  # the manager copies a request's arguments when it makes room by starting it over


class Sampler(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Samples the next token of every request as that request asked, and delivers it.

    Args:
        cancel: ends a submission by its id before the next step.
    """

    supported_kwargs: dict[str, type] = {"ticket": Ticket}  # noqa: RUF012 - as the base class has it
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, cancel: Callable[[str], None], device: torch.device) -> None:
        self._cancel = cancel
        self._tickets: list[Ticket] = []
        self._device = device
        self._generator = torch.Generator(device)  # not the global one, which is the user's
        self._generator.seed()

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        self._tickets = [future.state.logit_processor_kwargs["ticket"] for future in requests_with_new_token]
        return torch.zeros(len(self._tickets), dtype=torch.int32)

    def __call__(self, scores: torch.FloatTensor, tensor_arg: torch.Tensor) -> torch.FloatTensor:
        tickets, self._tickets = self._tickets, []
        rows = scores[: len(tickets)]  # what follows belongs to prompts that are still being read
        if not tickets:
            return scores
        chosen = rows.argmax(-1)
        sampled = [i for i, ticket in enumerate(tickets) if ticket.request.sampling.temperature > 0]
        if sampled:
            picked = self._sample(rows, [tickets[i].request for i in sampled], sampled)
            chosen[sampled] = picked
        logprobs = rows.gather(-1, chosen.unsqueeze(-1)).squeeze(-1) - rows.logsumexp(-1)
        if sampled:
            rows.scatter_(-1, chosen.unsqueeze(-1), torch.inf)  # the manager's argmax follows
        self._deliver(tickets, chosen.tolist(), logprobs.tolist())
        return scores

    def _sample(self, rows: torch.Tensor, requests: list[Request], at: list[int]) -> torch.Tensor:
        """Ids drawn from ``rows[at]`` under each request's temperature, top_k and top_p; shape [len(at)]."""
        settings = [request.sampling for request in requests]
        logits = rows if len(at) == len(rows) else rows[at]
        if any(s.temperature != 1 for s in settings):
            logits = logits / torch.tensor([s.temperature for s in settings], device=rows.device).unsqueeze(-1)
        if any(s.top_k or s.top_p < 1 for s in settings):
            logits = _cut(logits, settings)
        noise = torch.empty_like(logits).exponential_(generator=self._generator)
        for i, request in enumerate(requests):
            if request.sampling.seed is not None:
                if request.generator is None:
                    request.generator = torch.Generator(self._device).manual_seed(request.sampling.seed)
                noise[i].exponential_(generator=request.generator)
        # argmax of p / e with e ~ Exp(1) is a draw from p (the exponential race)
        return (logits.softmax(-1) / noise).argmax(-1)

    # Waking a consumer costs as much as half a token's share of a large step, so there it gets several at once; what
    # ends a stream goes out at once, so no hand-over waits.
    def _deliver(self, tickets: list[Ticket], ids: list[int], logprobs: list[float]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Delivery]] = {}
        now, patience = time.monotonic(), len(tickets) // REQUESTS_PER_WAIT
        for ticket, token_id, logprob in zip(tickets, ids, logprobs, strict=True):
            request = ticket.request
            if request.ticket is not ticket or request.over:
                continue
            finish = request.accept(token_id, logprob)
            if finish is Finish.STOP or (finish is Finish.LENGTH and request.shortened):
                self._cancel(ticket.id)
            if finish is None and len(request.waiting) <= patience and now - request.sent_at < LONGEST_WAIT_S:
                continue
            by_loop.setdefault(request.loop, []).append((request, request.waiting, finish))
            request.waiting, request.sent_at = [], now
        for loop, deliveries in by_loop.items():
            try:
                loop.call_soon_threadsafe(_receive, deliveries)
            except RuntimeError:  # that loop is closed: nobody waits any more
                for request, _, _ in deliveries:
                    if request.ticket is not None:
                        self._cancel(request.ticket.id)


def _receive(deliveries: list[Delivery]) -> None:
    for request, tokens, finish in deliveries:
        request.receive(tokens, finish)


def _cut(logits: torch.Tensor, settings: list[Sampling]) -> torch.Tensor:
    """Each row without what its top_k, then its top_p, cuts off; what remains keeps at least one token."""
    size = logits.shape[-1]
    ordered, order = logits.sort(dim=-1, descending=True)
    top_k = torch.tensor([min(s.top_k or size, size) for s in settings], device=logits.device).unsqueeze(-1)
    out = torch.arange(size, device=logits.device) >= top_k
    ordered = ordered.masked_fill(out, -torch.inf)
    top_p = torch.tensor([s.top_p for s in settings], device=logits.device, dtype=logits.dtype).unsqueeze(-1)
    probs = ordered.softmax(-1)
    ordered = ordered.masked_fill((probs.cumsum(-1) - probs >= top_p) & (top_p < 1), -torch.inf)
    return torch.empty_like(logits).scatter_(-1, order, ordered)


class Router(OutputRouter):  # type: ignore[misc]
    """Where the manager sends results: tokens have gone out already, so only failures matter here."""

    def deliver(self, output: object) -> None:
        """Ignore a finished request."""

    def deliver_batch(self, outputs: list[Any]) -> None:
        """Ignore finished requests."""

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        """Tell the consumer that its request has failed."""
        ticket: Ticket = state.logit_processor_kwargs["ticket"]
        fail(ticket, error)


def fail(ticket: Ticket, cause: BaseException) -> None:
    """End a submission with an EngineError; from any thread."""
    request = ticket.request
    if request.ticket is not ticket or request.over:
        return
    request.over = True
    error = EngineError(f"generation stopped: {cause}")
    error.__cause__ = cause
    with contextlib.suppress(RuntimeError):  # raised where that loop is closed: nobody waits any more
        request.loop.call_soon_threadsafe(request.receive, request.waiting, None, error)
