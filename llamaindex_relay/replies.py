"""An answer's events -> LlamaIndex's responses. Holds the state of one answer; models and settings are elsewhere.

Each streamed response says in ``additional_kwargs["relay"]["author"]`` who wrote its ``delta``; the last one has an
empty ``delta`` and carries usage and report. A whole answer is the last response of its stream.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from relay_core.events import Event, Finished, RelayResult, TextDelta
from relay_core.report import report
from relay_core.tools import CallDelta, Content, InvalidToolCall, Offer, Piece, ToolCall, ToolCallParser, call_ids
from relay_core.transcript import Author


class Reply:
    """One answer as it comes: events in, responses out.

    Args:
        messages: the conversation, from which the ids of tool calls follow.
        offered: the tools on offer; without any, nothing in the answer is a call.
        names: the student's and the teacher's spec, for the report.
        parallel: keep every tool call of the answer, or only the first.

    A call that is broken (no JSON, no name) stays in the text as it was written, and is listed in
    ``message.additional_kwargs["invalid_tool_calls"]``: LlamaIndex has no other place for it.
    """

    def __init__(
        self,
        messages: Sequence[Mapping[str, Any]],
        offered: Offer,
        *,
        names: Mapping[str, str | None],
        parallel: bool = True,
    ) -> None:
        self._names = names
        self._text = ""
        self._spans: list[dict[str, Any]] = []
        self._calls: dict[int, ToolCallBlock] = {}
        self._invalid: list[dict[str, Any]] = []
        self._parallel = parallel
        self._authors: deque[tuple[int, Author]] = deque()  # where in all the text an author's words end
        self._fed = 0
        self._parser = ToolCallParser(call_ids(list(messages))) if offered.tools else None
        if self._parser is not None and offered.prefix:
            self._parser.feed(offered.prefix)  # too short to decide anything
            self._fed = len(offered.prefix)
            self._authors.append((self._fed, Author.STUDENT))

    def take(self, event: Event) -> list[ChatResponse]:
        """The responses that this event makes."""
        if isinstance(event, TextDelta):
            if not event.text:
                return []
            if self._parser is None:
                return [self._say(event.author, event.text)]
            self._fed += len(event.text)
            self._authors.append((self._fed, event.author))
            return self._take_pieces(self._parser.feed(event.text))
        if isinstance(event, Finished):
            rest = [] if self._parser is None else self._take_pieces(self._parser.flush())
            return [*rest, self._end(event.result)]
        return []

    def whole(self, result: RelayResult) -> ChatResponse:
        """The same answer at once."""
        for segment in result.segments:
            if segment.author is not Author.COMMAND:
                self.take(TextDelta(segment.author, segment.text))
        return self.take(Finished(result))[-1]

    # -- what it is made of --------------------------------------------------------------------------------

    def _take_pieces(self, pieces: Sequence[Piece]) -> list[ChatResponse]:
        responses: list[ChatResponse] = []
        for piece in pieces:
            if isinstance(piece, Content):
                responses += [self._say(author, text) for author, text in self._attributed(piece.start, piece.text)]
            elif isinstance(piece, InvalidToolCall):
                self._calls.pop(piece.index, None)
                self._invalid.append(
                    {"id": piece.id, "name": piece.name, "arguments": piece.arguments, "error": piece.error}
                )
                responses.append(self._say(Author.STUDENT, piece.source))
            elif self._parallel or piece.index in self._calls or not self._calls:
                self._call(piece)
                if isinstance(piece, CallDelta):
                    responses.append(self._response("", self._author(piece.start)))
        return responses

    def _call(self, piece: CallDelta | ToolCall) -> None:
        """Take in more of a call; its arguments are JSON as written until it is whole."""
        if isinstance(piece, ToolCall):
            written = piece.arguments
            self._calls[piece.index] = ToolCallBlock(tool_call_id=piece.id, tool_name=piece.name, tool_kwargs=written)
        elif piece.name is not None:
            self._calls[piece.index] = ToolCallBlock(tool_call_id=piece.id, tool_name=piece.name, tool_kwargs="")
        else:
            block = self._calls[piece.index]
            so_far = str(block.tool_kwargs) + piece.arguments
            self._calls[piece.index] = block.model_copy(update={"tool_kwargs": so_far})

    def _author(self, at: int) -> Author:
        """Who wrote the character at ``at`` of all the text."""
        while len(self._authors) > 1 and self._authors[0][0] <= at:
            self._authors.popleft()
        return self._authors[0][1] if self._authors else Author.STUDENT

    def _attributed(self, start: int, text: str) -> list[tuple[Author, str]]:
        """``text``, which stands at ``start`` of all the text, cut where its author changes."""
        self._author(start)
        cut: list[tuple[Author, str]] = []
        at = start
        for end, author in self._authors:
            if part := text[at - start : end - start]:
                cut.append((author, part))
                at += len(part)
        return cut

    def _say(self, author: Author, text: str) -> ChatResponse:
        if not self._spans or self._spans[-1]["author"] != str(author):
            self._spans.append({"author": str(author), "start": len(self._text), "end": len(self._text)})
        self._text += text
        self._spans[-1]["end"] = len(self._text)
        return self._response(text, author)

    def _message(self) -> ChatMessage:
        """The message so far."""
        blocks: list[Any] = [TextBlock(text=self._text)] if self._text or not self._calls else []
        kwargs: dict[str, Any] = {}
        if self._calls:
            blocks += self._calls.values()
            # where LlamaIndex's streaming programs look for calls
            kwargs["tool_calls"] = [openai_call(block) for block in self._calls.values()]
        if self._invalid:
            kwargs["invalid_tool_calls"] = list(self._invalid)
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=kwargs)

    def _response(self, delta: str, author: Author) -> ChatResponse:
        return ChatResponse(message=self._message(), delta=delta, additional_kwargs={"relay": {"author": str(author)}})

    def _end(self, result: RelayResult) -> ChatResponse:
        # as ChatRelay counts: read by the student, once, and by the teacher in all its calls
        read, written = result.usage.prompt_tokens + result.usage.teacher_prompt_tokens, result.usage.completion_tokens
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        relay = {**report(result, self._spans), **self._names}
        return ChatResponse(
            message=self._message(),
            delta="",
            raw={"usage": usage, "finish_reason": str(result.finish_reason), "relay": relay},
            additional_kwargs={**usage, "relay": relay},
        )


def openai_call(block: ToolCallBlock) -> dict[str, Any]:
    """A tool call in OpenAI's form, its arguments as JSON text."""
    written = block.tool_kwargs
    arguments = written if isinstance(written, str) else json.dumps(written, ensure_ascii=False)
    return {"id": block.tool_call_id, "type": "function", "function": {"name": block.tool_name, "arguments": arguments}}


def as_completion(response: ChatResponse) -> CompletionResponse:
    """The same without the message around it."""
    return CompletionResponse(
        text=response.message.content or "",
        delta=response.delta,
        raw=response.raw,
        additional_kwargs=response.additional_kwargs,
    )
