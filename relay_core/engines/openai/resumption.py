"""The tokens of one stream so far, from all its responses, and the request for the remaining tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay_core.engines.base import Chunk, EngineUsage, Finish, Prompt, Sampling, Token
from relay_core.engines.openai.event_reader import EventReader
from relay_core.engines.openai.logprobs import request_fields
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.protocol import RUNNING_USAGE, Mode, request_body
from relay_core.engines.openai.response import ChunkStream


class StreamProgress:
    """What one stream has delivered, and what it may still deliver.

    Args:
        endpoint: the endpoint that answers.
        prompt: the prompt of the first request.
        sampling: the sampling of the whole stream.
        warmed: whether the stream is warmed; it may then be cut after any token, so every chunk has the usage so far.

    ``broken_responses``: the number of responses that broke before their end; the endpoint read the prompt for each of
    them.
    """

    def __init__(self, endpoint: Endpoint, prompt: Prompt, sampling: Sampling, *, warmed: bool = False) -> None:
        self.endpoint, self.warmed = endpoint, warmed
        self.broken_responses = 0
        self._prompt, self._sampling = prompt, sampling
        self._ids: list[int] = []
        self._texts: list[str] = []
        self._count = 0  # tokens so far
        self._least = 0  # the fewest tokens that their text can have
        self._cut: Finish | None = None  # the client has cut the stream, and only its usage is missing
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
        """The body of the next request, which asks for the remaining tokens.

        Args:
            model: the model's name at the endpoint.
            logprobs: whether to request log-probabilities (mode ``ids``).
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
        if self._sampling.top_logprob:
            body.update(request_fields(self.endpoint.mode))
        if self.endpoint.mode is Mode.IDS:
            if logprobs and not self._sampling.top_logprob:
                body["logprobs"] = 0
            if tokens_per_event > 1:
                body["stream_interval"] = tokens_per_event
        return body

    def event_reader(self) -> EventReader:
        """A reader for the response to the latest request."""
        return EventReader(
            self.endpoint.mode,
            self.endpoint.tokenizer,
            [*(self._prompt.token_ids or ()), *self._ids],
            continues=bool(self._prompt.continuation),
            resumes=bool(self._texts),
        )

    # -- what has come -------------------------------------------------------------------------------------

    @property
    def can_resume(self) -> bool:
        """Whether the remaining tokens can be requested. In mode ``chat``, such a request may restart the answer."""
        return self.endpoint.mode is not Mode.CHAT or not self._texts

    async def receive(self, stream: ChunkStream, notes: Mapping[str, Any]) -> Chunk:
        """Read the next chunk of a response and :meth:`take` it; the last chunk has the usage of the whole stream.

        Raises:
            Fault: the response broke, fell silent or was malformed.
        """
        if self._cut is not None:
            usage = await stream.trailing_usage()
            return Chunk((), self._cut, None, self.usage(usage), {**notes, **stream.notes})
        return self.take(await stream.next(), notes)

    def take(self, chunk: Chunk, notes: Mapping[str, Any]) -> Chunk:
        """Count a chunk's tokens, and cut the chunk at a stop string and at ``max_tokens``.

        A chunk that is cut at ``max_tokens`` gets an ``ending``, because the usage may follow.

        Args:
            chunk: the next chunk of a response.
            notes: the notes of the chunk to return; the chunk's own are added.
        """
        taken: list[Token] = []
        finish, ending, reported_count = chunk.finish, chunk.ending, self._reported_count(chunk)
        for token in chunk.tokens:
            if reported_count is None and self._tokens_left <= 0:
                finish, ending = self._cut_at_limit(chunk)  # more tokens arrived than were requested
                break
            fitted = token if reported_count is not None else self._fitted(token)
            taken.append(fitted)
            if self._append(fitted):
                finish, ending = Finish.STOP, None
                break
            if fitted.text != token.text:
                finish, ending = self._cut_at_limit(chunk)
                break
        if reported_count is not None:
            self._count = reported_count
        if finish is None and ending is None and self._tokens_left <= 0:
            finish, ending = self._cut_at_limit(chunk)
        end_token = chunk.end_token if finish is Finish.END else None
        usage = self.usage(chunk.usage) if finish is not None or self.warmed else None
        return Chunk(tuple(taken), finish, end_token, usage, {**notes, **chunk.notes}, ending=ending)

    def _cut_at_limit(self, chunk: Chunk) -> tuple[Finish | None, Finish]:
        """The finish and the ending of a chunk that reaches ``max_tokens`` although the endpoint does not say so."""
        self._cut = Finish.LENGTH
        return (Finish.LENGTH if chunk.finish is not None else None), Finish.LENGTH

    @property
    def _tokens_left(self) -> int:
        return self._sampling.max_tokens - self._count

    def _append(self, token: Token) -> bool:
        """Append a token; return whether it completed a stop string."""
        if token.id is not None:
            self._ids.append(token.id)
        self._texts.append(token.text)
        self._least += self._least_tokens(token)
        if token.is_tool_call:
            self._tail = ""
            return False
        text = self._tail + token.text
        self._tail = text[len(text) - self._longest_stop :] if len(text) > self._longest_stop else text
        return any(stop in text for stop in self._sampling.stop)

    def _least_tokens(self, token: Token) -> int:
        """A lower bound for the number of tokens in a token's text, which may be the text of several tokens."""
        return 1 if token.id is not None else max(1, -(-len(token.text) // self.endpoint.longest_token))

    def _reported_count(self, chunk: Chunk) -> int | None:
        """The number of tokens so far according to the server, if it sends text with a running usage.

        ``None`` if the server reports no count or an impossible one (too few tokens for the text, or more than were
        requested). The client then encodes the text and counts its tokens itself.
        """
        if self.endpoint.dialect.stream_options != RUNNING_USAGE or chunk.usage is None or not chunk.tokens:
            return None
        count = (self._count_at_request or 0) + (chunk.usage.completion_tokens or 0)
        minimum = self._count + sum(map(self._least_tokens, chunk.tokens))
        return count if minimum <= count <= self._sampling.max_tokens else None

    def _fitted(self, token: Token) -> Token:
        """Count a token, or a text of several tokens; cut a text to the tokens that are left.

        The text of a tool call that the server parsed is not the text that the model wrote. Its number of tokens is
        therefore not counted but estimated from below: the text is cut only if it is longer than any text with that
        many tokens can be.
        """
        if token.id is not None:
            self._count += 1
            return token
        left, tokenizer = self._tokens_left, self.endpoint.counter
        text = token.text[: left * self.endpoint.longest_token]  # a longer text has more tokens than are left
        count = self._least_tokens(Token(None, text))
        if tokenizer is not None and not token.is_tool_call:
            ids = tokenizer.encode(text)
            count = max(count, len(ids))
            if len(ids) > left:
                text = tokenizer.decode(ids[:left])
        self._count += left if text != token.text else min(count, left)
        return token._replace(text=text)

    def usage(self, reported: EngineUsage | None) -> EngineUsage:
        """The usage of the whole stream, which counts the prompt once for every response for which it was read.

        The number of written tokens is the one that the endpoint reports, unless the text must have more tokens.

        Args:
            reported: the usage that the endpoint reports for the latest response.
        """
        read = reported.prompt_tokens if reported is not None else None
        if read is None:
            read = self.prompt_tokens
        if read is not None:
            read += self.broken_responses * (self.prompt_tokens or 0)
        completion = reported.completion_tokens if reported is not None and not self.broken_responses else None
        is_right = completion is not None and completion >= self._least
        count = self._count if completion is None or not is_right or self._ids else completion
        cached = reported.cached_tokens if reported is not None else None
        return EngineUsage(read, cached, min(count, self._sampling.max_tokens))
