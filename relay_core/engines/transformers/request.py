"""One stream: a request between the manager's thread, which samples, and its consumer's event loop.

The manager's thread calls :meth:`Request.accept` for each sampled token and sends tokens across with
``loop.call_soon_threadsafe(request.receive, …)``; the consumer awaits :meth:`Request.next_chunk`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay_core.engines.base import Chunk, EngineUsage, Finish, Sampling, Token
from relay_core.engines.transformers import memory
from relay_core.errors import EngineError
from relay_core.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from relay_core.engines.transformers.grammars import Grammar
    from relay_core.engines.transformers.head import Head


class Request:
    """The state of one stream.

    Args:
        loop: the consumer's event loop.
        tokenizer: the model's.
        prompt_ids: the prompt.
        sampling: how to sample.
        limit: the most tokens to write; :meth:`shorten` lowers it while the request runs.
        end_ids: the model's end tokens.
        grammar: the grammar that the text must follow; ``None`` if there is none.
        head: the head whose probability each token gets; ``None`` if there is none.
    """

    __slots__ = (
        "__weakref__",
        "_decoder",
        "_error",
        "_finish",
        "_halts",
        "_longest_stop",
        "_received",
        "_tail",
        "_waiter",
        "_yielded_count",
        "cached_tokens",
        "end_ids",
        "generator",
        "grammar",
        "head",
        "ids",
        "is_over",
        "is_shortened",
        "limit",
        "loop",
        "prompt_length",
        "sampled_count",
        "sampling",
        "sent_at",
        "ticket",
        "unsent",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tokenizer: Tokenizer,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        limit: int,
        end_ids: frozenset[int],
        grammar: Grammar | None = None,
        head: Head | None = None,
    ) -> None:
        self.loop, self.sampling, self.limit, self.end_ids = loop, sampling, limit, end_ids
        self.grammar, self.head = grammar, head
        self.ids = list(prompt_ids)  # the prompt and every sampled token
        self.prompt_length = len(self.ids)
        self.cached_tokens: int | None = None  # prompt tokens found in the prefix cache; None until the prompt is read
        self.sampled_count = 0
        self.is_shortened = False  # the manager was asked for more tokens than `limit`
        self.is_over = False
        self.ticket: Ticket | None = None
        self.generator: torch.Generator | None = None  # of a request with a seed
        self.unsent: list[Token] = []  # sampled tokens that have not been sent to the consumer yet
        self.sent_at = 0.0  # the monotonic time at which tokens were last sent
        self._decoder = tokenizer.decoder(self.ids)
        self._longest_stop = max(map(len, sampling.stop), default=0)
        self._tail = ""  # the end of the text, as long as the longest stop string
        self._received: list[Token] = []
        self._yielded_count = 0
        self._halts = False  # the token of ``Sampling.halt`` has come, perhaps in the middle of a character
        self._finish: Finish | None = None
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    # -- on the manager's thread ---------------------------------------------------------------------------

    def accept(
        self, token_id: int, logprob: float, top_logprob: float | None = None, head_probability: float | None = None
    ) -> Finish | None:
        """Append a sampled token with its text; returns why the stream ends with it, or ``None`` if the stream
        continues.

        Raises:
            EngineError: the request's grammar has failed.
        """
        self.sampled_count += 1
        self.ids.append(token_id)
        if token_id in self.end_ids:
            self.is_over = True
            self.unsent.append(Token(token_id, "", logprob, False, top_logprob, head_probability))
            return Finish.END
        was_in_character = self.sampling.halt is not None and self._decoder.is_in_character
        text = self._decoder.step(token_id)
        token = Token(token_id, text, logprob, False, top_logprob, head_probability)
        self.unsent.append(token)
        finish = Finish.LENGTH if self.sampled_count >= self.limit else None
        if self.grammar is not None:
            self.grammar.accept(token_id)
            finish = Finish.END if self.grammar.is_complete else finish
        if self._longest_stop and text:
            text = self._tail + text
            if any(stop in text for stop in self.sampling.stop):
                finish = Finish.STOP
            self._tail = text[-self._longest_stop :]
        if self.sampling.halt is not None:
            self._halts = self._halts or self.sampling.halt(self.sampled_count - 1, token)
            if self._halts and not (was_in_character and self._decoder.is_in_character):
                finish = Finish.HALT
        self.is_over = finish is not None
        return finish

    def is_cut_short(self, finish: Finish | None) -> bool:
        """Whether the manager would continue after the last token, with which the stream ended (``finish``)."""
        if finish is Finish.END:
            return not self._has_end_token
        return finish in (Finish.STOP, Finish.HALT) or (finish is Finish.LENGTH and self.is_shortened)

    @property
    def _has_end_token(self) -> bool:
        """Whether an end token was sampled; a text whose grammar is complete ends without one."""
        return self.ids[-1] in self.end_ids

    def fail(self, cause: BaseException, *, keep_unsent: bool = True) -> None:
        """End the request with an EngineError, which the consumer receives after the tokens sampled so far.

        Can be called from any thread. While the manager's thread may be sending tokens, call it only with
        ``keep_unsent=False``, which drops the tokens that have not been sent yet.
        """
        self.is_over = True
        error = EngineError(f"generation stopped: {_describe(cause)}")
        error.__cause__ = cause
        with contextlib.suppress(RuntimeError):  # if the loop is closed, no consumer waits for the error
            self.loop.call_soon_threadsafe(self.receive, self.unsent if keep_unsent else [], None, error)

    # -- on the consumer's loop ----------------------------------------------------------------------------

    def receive(self, tokens: list[Token], finish: Finish | None, error: BaseException | None = None) -> None:
        """Take what the manager's thread has sent, and wake the consumer."""
        self._received += tokens
        self._finish = self._finish or finish
        self._error = error or self._error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def shorten(self, limit: int) -> None:
        """Lower the limit; tokens sampled beyond it are not yielded."""
        self.is_shortened, self.limit = True, min(limit, self.limit)

    async def next_chunk(self) -> Chunk:
        """Everything that has been received since the last chunk: at least one token, or the end.

        Raises:
            EngineError: the manager failed or was closed.
        """
        while not self._received and self._finish is None:
            if self._error is not None:
                raise self._error
            self._waiter = self.loop.create_future()
            await self._waiter
        tokens, self._received = self._received, []
        finish, end = self._finish, tokens.pop() if self._finish is Finish.END and self._has_end_token else None
        if self.is_shortened and len(tokens) >= self.limit - self._yielded_count:
            tokens, finish, end = tokens[: self.limit - self._yielded_count], Finish.LENGTH, None
        self._yielded_count += len(tokens)
        if finish is None:
            return Chunk(tokens)
        usage = EngineUsage(self.prompt_length, self.cached_tokens, self._yielded_count + (end is not None))
        return Chunk(tokens, finish, end, usage)

    @property
    def wasted_tokens(self) -> int:
        """The number of tokens that were sampled but not yielded, without the end token of a complete answer."""
        end_token = self._finish is Finish.END and self._has_end_token and self._yielded_count < self.limit
        return max(0, self.sampled_count - self._yielded_count - end_token)


class Ticket:
    """One submission of a request to the manager. If the request is submitted again, it gets another ticket.

    Until its next step, the manager still makes callbacks for a cancelled submission; the id tells old and new apart.
    """

    __slots__ = ("id", "request")

    _numbers = itertools.count()

    def __init__(self, request: Request) -> None:
        self.request, self.id = request, str(next(self._numbers))

    def __deepcopy__(self, memo: object) -> Ticket:
        return self  # the manager copies a request's arguments when it starts the request over to make room

    @property
    def is_current(self) -> bool:
        """Whether the request is still running under this ticket."""
        return self.request.ticket is self and not self.request.is_over

    def fail(self, cause: BaseException) -> None:
        """End the request with an error if it is still running under this ticket. Can be called from any thread."""
        if self.is_current:
            self.request.fail(cause)


def _describe(cause: BaseException) -> str:
    """The cause's message; if memory ran out, with the option that leaves more memory."""
    import torch  # already loaded, because a model has run

    if isinstance(cause, (MemoryError, torch.OutOfMemoryError)):
        return f"{cause} {memory.advice()}"
    return str(cause)
