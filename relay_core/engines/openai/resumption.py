"""The tokens of one stream so far, over all its responses, and the request for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from relay_core.engines.base import Chunk, EngineUsage, Finish, Prompt, Sampling, Token
from relay_core.engines.openai.event_reader import EventReader
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.protocol import RUNNING_USAGE, Mode, request_body
from relay_core.engines.openai.response import ChunkStream

_CONTEXT_TOKENS = 4  # enough to decode a character that is split between two responses


class StreamProgress:
    """What one stream has delivered, and what it still may.

    Args:
        endpoint: the endpoint that answers.
        prompt: the prompt of the first request.
        sampling: the sampling of the whole stream.
        warmed: the stream may be cut after any token, so every chunk has the usage so far.

    ``broken_responses``: how many responses broke before their end; each of them had read the prompt.
    """

    def __init__(self, endpoint: Endpoint, prompt: Prompt, sampling: Sampling, *, warmed: bool = False) -> None:
        self.endpoint, self.warmed = endpoint, warmed
        self.broken_responses = 0
        self._prompt, self._sampling = prompt, sampling
        self._ids: list[int] = []
        self._texts: list[str] = []
        self._count = 0  # tokens so far
        self._count_at_request: int | None = None  # tokens before the latest request; None before the first
        self._longest_stop = max((len(stop) for stop in sampling.stop), default=0)
        self._tail = ""  # the end of the text so far, as long as the longest stop string

    @property
    def was_sent(self) -> bool:
        """Whether a request was made."""
        return self._count_at_request is not None

    @property
    def prompt_tokens(self) -> int | None:
        """The length of the prompt; ``None`` without its ids."""
        return None if self._prompt.token_ids is None else len(self._prompt.token_ids)

    # -- the request for the rest --------------------------------------------------------------------------

    def begin_request(self, model: str, *, logprobs: bool, tokens_per_event: int) -> dict[str, Any]:
        """The body of a request for the rest, which is about to be sent.

        Args:
            model: the model's name at the endpoint.
            logprobs: ask for log-probabilities (mode ``ids``).
            tokens_per_event: how many tokens the endpoint may collect before it sends them (mode ``ids``).
        """
        self._count_at_request = self._count
        body = request_body(
            model,
            self.endpoint.dialect,
            self._prompt,
            self._sampling,
            ids=self._ids,
            text="".join(self._texts),
            left=self._tokens_left,
        )
        if self.endpoint.mode is Mode.IDS:
            if logprobs:
                body["logprobs"] = 0
            if tokens_per_event > 1:
                body["stream_interval"] = tokens_per_event
        return body

    def event_reader(self) -> EventReader:
        """A reader for the response to that request."""
        prompt_end = (self._prompt.token_ids or ())[-_CONTEXT_TOKENS:]
        context = [*prompt_end, *self._ids[-_CONTEXT_TOKENS:]][-_CONTEXT_TOKENS:]
        return EventReader(self.endpoint.mode, self.endpoint.tokenizer, context)

    # -- what has come -------------------------------------------------------------------------------------

    async def receive(self, stream: ChunkStream, notes: Mapping[str, Any]) -> Chunk:
        """Read the next chunk of a response and :meth:`take` it; the last one has the usage of the whole stream.

        Raises:
            Fault: the response broke, fell silent or was malformed.
        """
        chunk = await stream.next()
        taken = self.take(chunk, notes)
        if taken.finish is Finish.LENGTH and chunk.finish is None:  # some servers send the finish in a later event
            return replace(taken, usage=self.usage(await stream.trailing_usage()))
        return taken

    def take(self, chunk: Chunk, notes: Mapping[str, Any]) -> Chunk:
        """Count a chunk's tokens; cut it at a stop string and at ``max_tokens``.

        Args:
            chunk: the next chunk of a response.
            notes: the notes of the chunk to return.
        """
        taken: list[Token] = []
        finish, reported_count = chunk.finish, self._reported_count(chunk)
        for token in chunk.tokens if reported_count is not None else map(self._fitted, chunk.tokens):
            taken.append(token)
            if self._append(token):
                finish = Finish.STOP
                break
            if reported_count is None and self._tokens_left <= 0:
                is_last = token is chunk.tokens[-1]  # never for text, which may have been cut
                finish = (chunk.finish if is_last else None) or Finish.LENGTH
                break
        if reported_count is not None:
            self._count = reported_count
            if finish is None and not self._tokens_left:
                finish = Finish.LENGTH
        end_token = chunk.end_token if finish is Finish.END else None
        usage = self.usage(chunk.usage) if finish is not None or self.warmed else None
        return Chunk(tuple(taken), finish, end_token, usage, dict(notes))

    @property
    def _tokens_left(self) -> int:
        return self._sampling.max_tokens - self._count

    def _append(self, token: Token) -> bool:
        """Append a token; return whether it completed a stop string."""
        if token.id is not None:
            self._ids.append(token.id)
        self._texts.append(token.text)
        text = self._tail + token.text
        self._tail = text[len(text) - self._longest_stop :] if len(text) > self._longest_stop else text
        return any(stop in text for stop in self._sampling.stop)

    def _reported_count(self, chunk: Chunk) -> int | None:
        """The number of tokens so far by the server's count, for a server that sends text with a running usage.

        ``None`` if the server reports no count, or one that cannot be right (too few tokens for the text, or more than
        were requested): then the text is encoded and counted here.
        """
        if self.endpoint.dialect.stream_options != RUNNING_USAGE or chunk.usage is None or not chunk.tokens:
            return None
        count = (self._count_at_request or 0) + (chunk.usage.completion_tokens or 0)
        characters = max(len(token.text) for token in chunk.tokens)
        minimum = self._count + max(len(chunk.tokens), characters // self.endpoint.longest_token)
        return count if minimum <= count <= self._sampling.max_tokens else None

    def _fitted(self, token: Token) -> Token:
        """Count a token, or a text of several tokens; cut a text to the tokens that are left."""
        if token.id is not None:
            self._count += 1
            return token
        left, tokenizer = self._tokens_left, self.endpoint.counter
        text = token.text[: left * self.endpoint.longest_token]  # a longer text has more tokens than are left
        ids = [0] if tokenizer is None else tokenizer.encode(text)
        if tokenizer is not None and len(ids) > left:
            text = tokenizer.decode(ids[:left])
        self._count += left if text != token.text else max(1, len(ids))
        return Token(None, text, token.logprob)

    def usage(self, reported: EngineUsage | None) -> EngineUsage:
        """The usage of the whole stream, which counts the prompt once for every response that had read it.

        Args:
            reported: the usage that the endpoint reports for the latest response.
        """
        read = reported.prompt_tokens if reported is not None else None
        if read is None:
            read = self.prompt_tokens
        if read is not None:
            read += self.broken_responses * (self.prompt_tokens or 0)
        completion = reported.completion_tokens if reported is not None and not self.broken_responses else None
        count = self._count if completion is None or self._ids else min(completion, self._sampling.max_tokens)
        return EngineUsage(read, reported.cached_tokens if reported is not None else None, count)
