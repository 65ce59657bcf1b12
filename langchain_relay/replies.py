"""Converts the events of one answer into LangChain's message and chunks.

A stream and a whole answer consist of the same pieces. In a stream, each piece becomes an ``AIMessageChunk`` whose
``name`` is its author; in a whole answer, the pieces are joined. The sum of a stream's chunks therefore equals the
whole message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils.json import parse_partial_json

from relay_core.adapters.answer_report import input_tokens, report
from relay_core.adapters.authorship import AnswerPieces, AuthorSpans
from relay_core.adapters.cut_answers import cut_by, cut_message
from relay_core.adapters.identity import relay_name
from relay_core.events import FinishReason, RelayResult, TextDelta
from relay_core.settings import RelaySettings
from relay_core.tool_call import InvalidToolCall, ToolCallDelta
from relay_core.tool_parser import AnswerPiece, Content
from relay_core.tools import Offer
from relay_core.transcript import Author
from relay_core.usage import Usage

# For every incomplete JSON object, appending one of these endings makes it impossible to complete the object.
_ENDINGS = ("]", "}", '"]', '"}', '""]', '""}')


class Delta(NamedTuple):
    """The content of one chunk: some text, or a part of a tool call."""

    author: Author
    text: str = ""
    tool_call: ToolCallChunk | None = None

    def chunk(self) -> ChatGenerationChunk:
        """This delta as LangChain's chunk."""
        if self.tool_call is None:
            return _text_chunk(self.author, self.text)
        message = AIMessageChunk(content="", tool_call_chunks=[self.tool_call], name=str(self.author))
        return ChatGenerationChunk(message=message)


_CHECKED = {author: ChatGenerationChunk(message=AIMessageChunk(content="", name=str(author))) for author in Author}


def _text_chunk(author: Author, text: str) -> ChatGenerationChunk:
    """Build ``ChatGenerationChunk(message=AIMessageChunk(content=text, name=author))`` in half the time.

    The chunk is copied from one that pydantic has already checked. Only its text differs, so it needs no new check.
    """
    chunk = _CHECKED[author].__copy__()
    message = chunk.message.__copy__()
    message.__dict__.update(
        content=text,
        additional_kwargs={},
        response_metadata={},
        tool_calls=[],
        invalid_tool_calls=[],
        tool_call_chunks=[],
    )
    chunk.__dict__.update(text=message.text, message=message)
    return chunk


class Reply:
    """The state of one answer while it arrives.

    Args:
        offered: the tools on offer; if there are none, no text is read as a tool call.
        names: the specs of ``student`` and ``teacher``, for the report; the teacher's is ``None`` if there is no
            teacher.
        settings: the settings of the answer.
        opening: text that the answer was forced to begin with, and that is part of the answer.
        numbered_blocks: whether to number tool calls as content blocks, so that no tool call has the index of a run of
            text.
    """

    def __init__(
        self,
        offered: Offer,
        *,
        names: Mapping[str, str | None],
        settings: RelaySettings,
        opening: str = "",
        numbered_blocks: bool = False,
    ) -> None:
        self._pieces = AnswerPieces(offered, opening)
        self._names, self._settings = names, settings
        self._opening, self._numbered_blocks = opening, numbered_blocks
        self._cut_by: str | None = None  # the limit that ended the answer
        self._texts: list[str] = []
        self._spans = AuthorSpans(len(opening))
        self._tool_calls: dict[int, ToolCallChunk] = {}  # the first chunk of each tool call
        self._arguments: dict[int, list[str]] = {}
        self._invalid_tool_calls: list[dict[str, str | None]] = []
        self._begins_with_text: bool | None = None

    @property
    def text(self) -> str:
        """The text so far, without tool calls."""
        return "".join(self._texts)

    @property
    def calls_tools(self) -> bool:
        """Whether the answer holds a tool call, invalid ones included."""
        return bool(self._tool_calls)

    def take(self, delta: TextDelta) -> list[Delta]:
        """Append text; returns the parts that are certain now and can be shown."""
        return self._take_pieces(self._pieces.feed(delta.author, delta.text)) if delta.text else []

    def take_all(self, result: RelayResult) -> None:
        """Append a whole answer."""
        for segment in result.segments:
            if segment.author is not Author.COMMAND and segment.text:
                self._take_pieces(self._pieces.feed(segment.author, segment.text))
        self.flush(result)

    def flush(self, result: RelayResult) -> list[Delta]:
        """End the text; returns the parts of it that were held back."""
        self._cut_by = cut_by(result, self._settings)
        return self._take_pieces(self._pieces.flush())

    def restart(self) -> None:
        """Drop the text so far: another answer, without tools, replaces it."""
        self._pieces, self._opening = AnswerPieces(Offer()), ""
        self._texts, self._spans, self._begins_with_text = [], AuthorSpans(), None

    def last_chunk(self, result: RelayResult) -> ChatGenerationChunk:
        """The last chunk of the stream; only this chunk has the usage and the report."""
        message = AIMessageChunk(
            content="",
            response_metadata=self._metadata(result),
            usage_metadata=usage_metadata(result.usage),
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)

    def message(self, result: RelayResult) -> AIMessage:
        """The whole answer; it equals the sum of the stream's chunks."""
        tool_calls = [
            tool_call_chunk(name=c["name"], args="".join(self._arguments[i]), id=c["id"], index=c["index"])
            for i, c in self._tool_calls.items()
        ]
        chunk = AIMessageChunk(content=self.text, tool_call_chunks=tool_calls, chunk_position="last")
        return AIMessage(
            content=self.text,
            tool_calls=chunk.tool_calls,
            invalid_tool_calls=chunk.invalid_tool_calls,
            response_metadata=self._metadata(result),
            usage_metadata=usage_metadata(result.usage),
        )

    # -- pieces --------------------------------------------------------------------------------------------

    def _take_pieces(self, pieces: Iterable[tuple[Author, AnswerPiece]]) -> list[Delta]:
        deltas: list[Delta] = []
        for author, piece in pieces:
            if isinstance(piece, Content):
                deltas.append(self._add_text(author, piece.text))
            elif isinstance(piece, ToolCallDelta):
                tool_call_id = None if piece.name is None else piece.id  # LangChain wants the id once, with the name
                deltas.append(self._add_tool_call(author, piece.index, piece.name, tool_call_id, piece.arguments))
            elif isinstance(piece, InvalidToolCall):
                deltas.append(self._invalidate(piece))
        return deltas

    def _add_text(self, author: Author, text: str) -> Delta:
        if self._begins_with_text is None:
            self._begins_with_text = True
        self._spans.add(author, len(text))
        if not self._texts:
            text = self._opening + text
        self._texts.append(text)
        return Delta(author, text)

    def _add_tool_call(
        self, author: Author, index: int, name: str | None, tool_call_id: str | None, arguments: str
    ) -> Delta:
        if self._begins_with_text is None:
            self._begins_with_text = False
        number = 2 * index + self._begins_with_text if self._numbered_blocks else index
        part = tool_call_chunk(name=name, args=arguments, id=tool_call_id, index=number)
        self._tool_calls.setdefault(index, part)
        self._arguments.setdefault(index, []).append(arguments)
        return Delta(author, tool_call=part)

    def _invalidate(self, piece: InvalidToolCall) -> Delta:
        """End an invalid tool call in such a way that LangChain cannot complete it.

        LangChain completes truncated arguments, and an agent would then run the tool with incomplete arguments.
        """
        author = self._pieces.spans.last
        error = cut_message(self._cut_by, f"it ({piece.error})") if piece.is_cut and self._cut_by else piece.error
        self._invalid_tool_calls.append({"id": piece.id, "name": piece.name, "error": error})
        if piece.index in self._tool_calls:
            return self._add_tool_call(author, piece.index, None, None, broken_ending(piece.arguments))
        return self._add_tool_call(author, piece.index, piece.name, piece.id, piece.source)

    def _metadata(self, result: RelayResult) -> dict[str, Any]:
        student, teacher = self._names["student"], self._names["teacher"]
        relay = {
            **report(result, self._spans.as_dicts(), self._settings),
            "student": student,
            "teacher": teacher or "none",
        }
        full_text = self._pieces.full_text
        if full_text != self.text:
            relay["written"] = {"text": full_text, "spans": self._pieces.spans.as_dicts()}
        if self._invalid_tool_calls:  # LangChain's own list loses the errors when chunks are added up
            relay["invalid_tool_calls"] = self._invalid_tool_calls
        if "answer" in result.notes:
            relay["answer"] = result.notes["answer"]
        return {
            "model_name": relay_name(str(student), teacher),
            "model_provider": "relay",
            "finish_reason": "tool_calls" if self._tool_calls else finish_reason(result.finish_reason),
            "relay": relay,
        }


def usage_metadata(usage: Usage) -> UsageMetadata:
    """LangChain's usage; its details add up to its totals.

    The input is the prompt, counted once, and all tokens that the teacher read in its calls. ``cache_read`` counts the
    tokens among the latter that came from a cache, if the engine reports them.
    """
    cached = usage.teacher_cached_tokens
    inputs: dict[str, int] = {
        "student": usage.prompt_tokens,
        "teacher": usage.teacher_prompt_tokens - (cached or 0),
    }
    if cached is not None:
        inputs["cache_read"] = cached
    outputs = {
        "student": usage.student_tokens,
        "command": usage.command_tokens,
        "teacher": usage.teacher_tokens,
    }
    return UsageMetadata(
        input_tokens=input_tokens(usage),
        output_tokens=usage.completion_tokens,
        total_tokens=input_tokens(usage) + usage.completion_tokens,
        input_token_details=InputTokenDetails(**inputs),  # type: ignore[typeddict-item]
        output_token_details=OutputTokenDetails(**outputs),  # type: ignore[typeddict-item]
    )


def finish_reason(reason: FinishReason) -> str:
    """OpenAI's name for the finish reason, which LangChain's tools expect."""
    return "length" if reason in (FinishReason.LENGTH, FinishReason.DEADLINE) else "stop"


def broken_ending(arguments: str) -> str:
    """Characters to append to ``arguments`` so that ``parse_partial_json`` cannot read an object from them."""
    for ending in _ENDINGS:
        try:
            if not isinstance(parse_partial_json(arguments + ending), dict):
                return ending
        except ValueError:
            return ending
    raise AssertionError(f"no ending breaks {arguments!r}")  # pragma: no cover - there is one for each kind of bracket
