"""An answer's events -> LangChain's message and chunks. Holds the state of one answer, and knows no model.

The same pieces make both: streamed, each becomes an ``AIMessageChunk`` whose ``name`` is its author; invoked, they
are joined first. So a stream's chunks, added up, are the invoked message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils.json import parse_partial_json

from relay_core.adapters.answer_report import report
from relay_core.adapters.authorship import Pieces, Spans
from relay_core.events import FinishReason, RelayResult, TextDelta
from relay_core.tools import CallDelta, Content, InvalidToolCall, Offer, Piece
from relay_core.transcript import Author
from relay_core.usage import Usage

# One of them makes any beginning of a JSON object one that cannot be completed any more.
_ENDINGS = ("]", "}", '"]', '"}', '""]', '""}')


class Delta(NamedTuple):
    """What one chunk says: some text, or a part of a tool call."""

    author: Author
    text: str = ""
    call: ToolCallChunk | None = None

    def chunk(self) -> ChatGenerationChunk:
        if self.call is None:
            return _text_chunk(self.author, self.text)
        message = AIMessageChunk(content="", tool_call_chunks=[self.call], name=str(self.author))
        return ChatGenerationChunk(message=message)


_CHECKED = {author: ChatGenerationChunk(message=AIMessageChunk(content="", name=str(author))) for author in Author}


def _text_chunk(author: Author, text: str) -> ChatGenerationChunk:
    """``ChatGenerationChunk(message=AIMessageChunk(content=text, name=author))`` in half the time.

    Pydantic need not check anew for every chunk what is the same in all of them.
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
    """One answer as it comes.

    Args:
        messages: the conversation, from which the ids of tool calls follow.
        offered: the tools on offer; without any, nothing in the answer is a call.
        opening: text with which the answer was made to begin, and which belongs to it.
        blocks: number calls so that, as content blocks, none shares a number with a run of text.
    """

    def __init__(
        self, messages: Sequence[Mapping[str, Any]], offered: Offer, *, opening: str = "", blocks: bool = False
    ) -> None:
        self._pieces = Pieces(messages, offered, opening)
        self._opening, self._blocks = opening, blocks
        self._texts: list[str] = []
        self._spans = Spans(len(opening))
        self._calls: dict[int, ToolCallChunk] = {}
        self._broken: list[dict[str, str | None]] = []
        self._begins_with_text: bool | None = None

    @property
    def text(self) -> str:
        """What was said so far."""
        return "".join(self._texts)

    @property
    def calls_tools(self) -> bool:
        """Whether the answer holds a tool call, broken ones included."""
        return bool(self._calls)

    def take(self, delta: TextDelta) -> list[Delta]:
        """What the reader sees of this delta."""
        return self._take_pieces(self._pieces.take(delta.author, delta.text)) if delta.text else []

    def take_all(self, result: RelayResult) -> None:
        """A whole answer at once."""
        for segment in result.segments:
            if segment.author is not Author.COMMAND and segment.text:
                self._take_pieces(self._pieces.take(segment.author, segment.text))
        self.flush()

    def flush(self) -> list[Delta]:
        """The end of the text: what was held back."""
        return self._take_pieces(self._pieces.flush())

    def start_again(self) -> None:
        """What was said so far was not the answer to show: another one follows, without tools."""
        self._pieces, self._opening = Pieces([], Offer()), ""
        self._texts, self._spans, self._begins_with_text = [], Spans(), None

    def last_chunk(self, result: RelayResult, names: Mapping[str, str]) -> ChatGenerationChunk:
        """The chunk that ends the stream: usage and report, once."""
        message = AIMessageChunk(
            content="",
            response_metadata=self._metadata(result, names),
            usage_metadata=usage_metadata(result.usage),
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)

    def message(self, result: RelayResult, names: Mapping[str, str]) -> AIMessage:
        """The whole answer: what its chunks add up to."""
        chunk = AIMessageChunk(content=self.text, tool_call_chunks=list(self._calls.values()), chunk_position="last")
        return AIMessage(
            content=self.text,
            tool_calls=chunk.tool_calls,
            invalid_tool_calls=chunk.invalid_tool_calls,
            response_metadata=self._metadata(result, names),
            usage_metadata=usage_metadata(result.usage),
        )

    # -- what it is made of --------------------------------------------------------------------------------

    def _take_pieces(self, pieces: Iterable[tuple[Author, Piece]]) -> list[Delta]:
        deltas: list[Delta] = []
        for author, piece in pieces:
            if isinstance(piece, Content):
                deltas.append(self._say(author, piece.text))
            elif isinstance(piece, CallDelta):
                call_id = None if piece.name is None else piece.id  # the id comes with the name, once
                deltas.append(self._call(author, piece.index, piece.name, call_id, piece.arguments))
            elif isinstance(piece, InvalidToolCall):
                deltas.append(self._break(piece))
        return deltas

    def _say(self, author: Author, text: str) -> Delta:
        if self._begins_with_text is None:
            self._begins_with_text = True
        self._spans.add(author, len(text))
        if not self._texts:
            text = self._opening + text
        self._texts.append(text)
        return Delta(author, text)

    def _call(self, author: Author, index: int, name: str | None, call_id: str | None, args: str) -> Delta:
        if self._begins_with_text is None:
            self._begins_with_text = False
        number = 2 * index + self._begins_with_text if self._blocks else index
        part = tool_call_chunk(name=name, args=args, id=call_id, index=number)
        if index in self._calls:
            self._calls[index]["args"] = (self._calls[index]["args"] or "") + args
        else:
            self._calls[index] = part.copy()
        return Delta(author, call=part)

    def _break(self, piece: InvalidToolCall) -> Delta:
        """End a broken call so that no reader of its chunks takes it for a whole one.

        LangChain completes arguments that were cut short; whoever ran the tool would run it with half of them.
        """
        author = self._pieces.spans.last
        self._broken.append({"id": piece.id, "name": piece.name, "error": piece.error})
        if piece.index in self._calls:
            return self._call(author, piece.index, None, None, broken_ending(piece.arguments))
        return self._call(author, piece.index, piece.name, piece.id, piece.source)

    def _metadata(self, result: RelayResult, names: Mapping[str, str]) -> dict[str, Any]:
        relay = {**report(result, self._spans.list()), **names}
        written = self._pieces.written
        if written != self.text:
            relay["written"] = {"text": written, "spans": self._pieces.spans.list()}
        if self._broken:  # LangChain's own list loses what was wrong when chunks are added up
            relay["invalid_tool_calls"] = self._broken
        if "answer" in result.notes:
            relay["answer"] = result.notes["answer"]
        reason = "tool_calls" if self._calls else finish_reason(result.finish_reason)
        return {"model_name": names["student"], "model_provider": "relay", "finish_reason": reason, "relay": relay}


def usage_metadata(usage: Usage) -> UsageMetadata:
    """LangChain's count of tokens.

    Input is what was read: the prompt by the student, once, and all that the teacher read in its calls; what of that
    came from a cache is ``cache_read``. The details add up to the totals.
    """
    cached = usage.teacher_cached_tokens
    read = usage.prompt_tokens + usage.teacher_prompt_tokens
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
        input_tokens=read,
        output_tokens=usage.completion_tokens,
        total_tokens=read + usage.completion_tokens,
        input_token_details=InputTokenDetails(**inputs),  # type: ignore[typeddict-item]
        output_token_details=OutputTokenDetails(**outputs),  # type: ignore[typeddict-item]
    )


def finish_reason(reason: FinishReason) -> str:
    """In OpenAI's words, which tools around LangChain look for."""
    return "length" if reason in (FinishReason.LENGTH, FinishReason.DEADLINE) else "stop"


def broken_ending(arguments: str) -> str:
    """What to add to ``arguments`` so that ``parse_partial_json`` makes no object of them."""
    for ending in _ENDINGS:
        try:
            if not isinstance(parse_partial_json(arguments + ending), dict):
                return ending
        except ValueError:
            return ending
    raise AssertionError(f"no ending breaks {arguments!r}")  # pragma: no cover - one of each kind of bracket is there
