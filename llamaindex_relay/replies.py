"""An answer's events -> LlamaIndex's responses. Holds the state of one answer; models and settings are elsewhere.

Each streamed response says in ``additional_kwargs["relay"]["author"]`` who wrote its ``delta``; the last one has an
empty ``delta`` and carries usage and report. A whole answer is the last response of its stream.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from relay_core.adapters.answer_report import report
from relay_core.adapters.authorship import Pieces, Spans
from relay_core.events import Event, Finished, RelayResult, TextDelta
from relay_core.tools import CallDelta, Content, InvalidToolCall, Offer, Piece, ToolCall
from relay_core.transcript import Author

R = TypeVar("R", bound=ChatResponse | CompletionResponse)


class Reply(ABC, Generic[R]):
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
        self._names, self._parallel = names, parallel
        self._pieces, self._spans = Pieces(messages, offered), Spans()
        self._text = ""
        self._calls: dict[int, ToolCallBlock] = {}
        self._invalid: list[dict[str, Any]] = []

    def take(self, event: Event) -> list[R]:
        """The responses that this event makes."""
        if isinstance(event, TextDelta):
            return self._take_pieces(self._pieces.take(event.author, event.text)) if event.text else []
        if isinstance(event, Finished):
            return [*self._take_pieces(self._pieces.flush()), self._end(event.result)]
        return []

    def whole(self, result: RelayResult) -> R:
        """The same answer at once."""
        for segment in result.segments:
            if segment.author is not Author.COMMAND:
                self.take(TextDelta(segment.author, segment.text))
        return self.take(Finished(result))[-1]

    @abstractmethod
    def _response(self, delta: str, about: dict[str, Any], raw: Any = None) -> R:
        """All so far, as one response; ``about``: what is said beside it."""

    # -- what it is made of --------------------------------------------------------------------------------

    def _take_pieces(self, pieces: Iterable[tuple[Author, Piece]]) -> list[R]:
        responses: list[R] = []
        for author, piece in pieces:
            if isinstance(piece, Content):
                responses.append(self._say(author, piece.text))
            elif isinstance(piece, InvalidToolCall):
                self._calls.pop(piece.index, None)
                self._invalid.append(
                    {"id": piece.id, "name": piece.name, "arguments": piece.arguments, "error": piece.error}
                )
                responses += [self._say(*part) for part in self._pieces.spans.cut(piece.start, piece.source)]
            elif self._parallel or piece.index in self._calls or not self._calls:
                self._call(piece)
                if isinstance(piece, CallDelta):
                    responses.append(self._response("", _by(author)))
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

    def _say(self, author: Author, text: str) -> R:
        self._spans.add(author, len(text))
        self._text += text
        return self._response(text, _by(author))

    def _end(self, result: RelayResult) -> R:
        # as ChatRelay counts: read by the student, once, and by the teacher in all its calls
        read, written = result.usage.prompt_tokens + result.usage.teacher_prompt_tokens, result.usage.completion_tokens
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        relay = {**report(result, self._spans.list()), **self._names}
        raw = {"usage": usage, "finish_reason": str(result.finish_reason), "relay": relay}
        return self._response("", {**usage, "relay": relay}, raw)


class ChatReply(Reply[ChatResponse]):
    """An answer as messages."""

    def _response(self, delta: str, about: dict[str, Any], raw: Any = None) -> ChatResponse:
        return ChatResponse(message=self._message(), delta=delta, raw=raw, additional_kwargs=about)

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


class CompletionReply(Reply[CompletionResponse]):
    """An answer as text, without the message around it."""

    def _response(self, delta: str, about: dict[str, Any], raw: Any = None) -> CompletionResponse:
        return CompletionResponse(text=self._text, delta=delta, raw=raw, additional_kwargs=about)


def _by(author: Author) -> dict[str, Any]:
    return {"relay": {"author": str(author)}}


def openai_call(block: ToolCallBlock) -> dict[str, Any]:
    """A tool call in OpenAI's form, its arguments as JSON text."""
    written = block.tool_kwargs
    arguments = written if isinstance(written, str) else json.dumps(written, ensure_ascii=False)
    return {"id": block.tool_call_id, "type": "function", "function": {"name": block.tool_name, "arguments": arguments}}
