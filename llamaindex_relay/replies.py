"""Converts the events of one answer into LlamaIndex's responses.

In each streamed response, ``additional_kwargs["relay"]["author"]`` is the author of its ``delta``. The last response of
a stream has an empty ``delta`` and holds the usage and the report. An answer that is not streamed is this last
response.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from llamaindex_relay.errors import check_json, no_tool_call
from relay_core.adapters.answer_report import input_tokens, report
from relay_core.adapters.authorship import AnswerPieces, AuthorSpans
from relay_core.adapters.cut_answers import cut_by, cut_message
from relay_core.events import Event, Finished, RelayResult, TextDelta
from relay_core.settings import RelaySettings
from relay_core.tool_call import InvalidToolCall, ToolCall, ToolCallDelta
from relay_core.tool_parser import AnswerPiece, Content
from relay_core.tools import Offer
from relay_core.transcript import Author

R = TypeVar("R", bound=ChatResponse | CompletionResponse)


class Reply(ABC, Generic[R]):
    """The state of one answer: takes its events and returns responses.

    Args:
        offered: the tools on offer; if there are none, no text is read as a tool call.
        names: the specs of ``student`` and ``teacher``, for the report.
        settings: the settings of the answer.
        parallel: whether to keep every tool call of the answer, or only the first one.
        holds_object: whether LlamaIndex reads an object from the answer. If the answer is cut, its streaming programs
            end with the last partial object as if it were whole; :meth:`take` raises before that.

    An invalid tool call (without valid JSON or without a name) stays in the text as it was written. It is also listed
    in ``message.additional_kwargs["invalid_tool_calls"]``, since LlamaIndex has no other place for it.
    """

    def __init__(
        self,
        offered: Offer,
        *,
        names: Mapping[str, str | None],
        settings: RelaySettings,
        parallel: bool = True,
        holds_object: bool = False,
    ) -> None:
        self._names, self._settings, self._parallel = names, settings, parallel
        self._by_tool_call, self._holds_object = bool(offered.tools), holds_object
        self._pieces, self._spans = AnswerPieces(offered), AuthorSpans()
        self._text = ""
        self._tool_calls: dict[int, ToolCallBlock] = {}
        self._invalid_tool_calls: list[dict[str, Any]] = []
        self._cut_by: str | None = None  # the limit that ended the answer

    def take(self, event: Event) -> list[R]:
        """Process the next event; returns the responses that result from it.

        Raises:
            NoToolCall: the answer has ended without the tool call that holds the object.
            CutAnswer: a limit ended the answer before the JSON of the object was whole.
        """
        if isinstance(event, TextDelta):
            return self._take_pieces(self._pieces.feed(event.author, event.text)) if event.text else []
        if isinstance(event, Finished):
            self._cut_by = cut_by(event.result, self._settings)
            responses = self._take_pieces(self._pieces.flush())
            if self._holds_object:
                self._check_object()
            return [*responses, self._last_response(event.result)]
        return []

    def whole(self, result: RelayResult) -> R:
        """Process a whole answer; returns its last response."""
        for segment in result.segments:
            if segment.author is not Author.COMMAND:
                self.take(TextDelta(segment.author, segment.text))
        return self.take(Finished(result))[-1]

    @abstractmethod
    def _response(self, delta: str, additional: dict[str, Any], raw: Any = None) -> R:
        """The answer so far as one response, with ``additional`` as its ``additional_kwargs``."""

    # -- pieces --------------------------------------------------------------------------------------------

    def _take_pieces(self, pieces: Iterable[tuple[Author, AnswerPiece]]) -> list[R]:
        responses: list[R] = []
        for author, piece in pieces:
            if isinstance(piece, Content):
                responses.append(self._add_text(author, piece.text))
            elif isinstance(piece, InvalidToolCall):
                self._invalidate(piece)
                responses += [self._add_text(*part) for part in self._pieces.spans.cut(piece.start, piece.source)]
            elif self._parallel or piece.index in self._tool_calls or not self._tool_calls:
                self._add_tool_call(piece)
                if isinstance(piece, ToolCallDelta):
                    responses.append(self._response("", _author_entry(author)))
        return responses

    def _add_tool_call(self, piece: ToolCallDelta | ToolCall) -> None:
        """Process a part of a tool call. Its arguments stay JSON text until the tool call is complete."""
        if piece.name is not None:
            arguments = piece.arguments if isinstance(piece, ToolCall) else ""
            block = ToolCallBlock(tool_call_id=piece.id, tool_name=piece.name, tool_kwargs=arguments)
        else:
            block = self._tool_calls[piece.index]
            block = block.model_copy(update={"tool_kwargs": str(block.tool_kwargs) + piece.arguments})
        self._tool_calls[piece.index] = block

    def _invalidate(self, piece: InvalidToolCall) -> None:
        error = cut_message(self._cut_by, f"it ({piece.error})") if piece.is_cut and self._cut_by else piece.error
        self._tool_calls.pop(piece.index, None)
        self._invalid_tool_calls.append(
            {"id": piece.id, "name": piece.name, "arguments": piece.arguments, "error": error}
        )

    def _check_object(self) -> None:
        if self._by_tool_call:
            if not self._tool_calls:
                raise no_tool_call(self._text, self._invalid_tool_calls)
        elif self._cut_by is not None:
            check_json(self._text, self._cut_by)

    def _add_text(self, author: Author, text: str) -> R:
        self._spans.add(author, len(text))
        self._text += text
        return self._response(text, _author_entry(author))

    def _last_response(self, result: RelayResult) -> R:
        read, written = input_tokens(result.usage), result.usage.completion_tokens
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        relay = {**report(result, self._spans.as_dicts(), self._settings), **self._names}
        raw = {"usage": usage, "finish_reason": str(result.finish_reason), "relay": relay}
        return self._response("", {**usage, "relay": relay}, raw)


class ChatReply(Reply[ChatResponse]):
    """An answer as chat responses."""

    def _response(self, delta: str, additional: dict[str, Any], raw: Any = None) -> ChatResponse:
        return ChatResponse(message=self._message(), delta=delta, raw=raw, additional_kwargs=additional)

    def _message(self) -> ChatMessage:
        """The message so far."""
        blocks: list[Any] = [TextBlock(text=self._text)] if self._text or not self._tool_calls else []
        kwargs: dict[str, Any] = {}
        if self._tool_calls:
            blocks += self._tool_calls.values()
            # LlamaIndex's streaming programs read tool calls from this key
            kwargs["tool_calls"] = [openai_tool_call(block) for block in self._tool_calls.values()]
        if self._invalid_tool_calls:
            kwargs["invalid_tool_calls"] = list(self._invalid_tool_calls)
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=kwargs)


class CompletionReply(Reply[CompletionResponse]):
    """An answer as completion responses, which hold a text instead of a message."""

    def _response(self, delta: str, additional: dict[str, Any], raw: Any = None) -> CompletionResponse:
        return CompletionResponse(text=self._text, delta=delta, raw=raw, additional_kwargs=additional)


def _author_entry(author: Author) -> dict[str, Any]:
    return {"relay": {"author": str(author)}}


def openai_tool_call(block: ToolCallBlock) -> dict[str, Any]:
    """A tool call in OpenAI's form, with its arguments as JSON text."""
    arguments = block.tool_kwargs
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"id": block.tool_call_id, "type": "function", "function": {"name": block.tool_name, "arguments": arguments}}
