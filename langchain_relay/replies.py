"""An answer's events -> LangChain's message and chunks. Holds the state of one answer, and knows no model.

The same pieces make both: streamed, each becomes an ``AIMessageChunk`` whose ``name`` is its author; invoked, they
are joined first. So a stream's chunks, added up, are the invoked message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.utils.json import parse_partial_json

from relay_core.events import FinishReason, RelayResult, TextDelta
from relay_core.report import report
from relay_core.tools import CallDelta, Content, InvalidToolCall, Offer, Piece, ToolCallParser, call_ids
from relay_core.transcript import Author
from relay_core.usage import Usage

# One of them makes any beginning of a JSON object one that cannot be completed any more.
_ENDINGS = ("]", "}", '"]', '"}', '""]', '""}')


class Delta(NamedTuple):
    """What one chunk says: some text, or a part of a tool call."""

    author: Author
    text: str = ""
    call: ToolCallChunk | None = None

    def chunk(self) -> AIMessageChunk:
        calls = [] if self.call is None else [self.call]
        return AIMessageChunk(content=self.text, tool_call_chunks=calls, name=str(self.author))


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
        self.text = ""
        self._written = offered.prefix or opening
        self._opening, self._blocks = opening, blocks
        self._spans, self._written_spans = _Spans(), _Spans()
        self._calls: dict[int, ToolCallChunk] = {}
        self._begins_with_text: bool | None = None
        self._authors: deque[tuple[int, Author]] = deque()  # where in all that was written an author's words end
        self._parser = ToolCallParser(call_ids(list(messages))) if offered.tools else None
        if self._parser is not None and offered.prefix:
            self._parser.feed(offered.prefix)  # too short to decide anything

    @property
    def calls_tools(self) -> bool:
        """Whether the answer holds a tool call, broken ones included."""
        return bool(self._calls)

    def take(self, delta: TextDelta) -> list[Delta]:
        """What the reader sees of this delta."""
        if not delta.text:
            return []
        start = len(self._written)
        self._written += delta.text
        self._written_spans.add(delta.author, start, len(self._written))
        if self._parser is None:
            return [self._say(delta.author, delta.text)]
        self._authors.append((len(self._written), delta.author))
        return self._take_pieces(self._parser.feed(delta.text))

    def start_again(self) -> None:
        """What was said so far was not the answer to show: another one follows."""
        self.text = self._written = ""
        self._spans, self._written_spans = _Spans(), _Spans()
        self._parser, self._begins_with_text = None, None

    def flush(self) -> list[Delta]:
        """The end of the text: what was held back."""
        return [] if self._parser is None else self._take_pieces(self._parser.flush())

    def last_chunk(self, result: RelayResult, names: Mapping[str, str]) -> AIMessageChunk:
        """The chunk that ends the stream: usage and report, once."""
        return AIMessageChunk(
            content="",
            response_metadata=self._metadata(result, names),
            usage_metadata=usage_metadata(result.usage),
            chunk_position="last",
        )

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

    def _take_pieces(self, pieces: Sequence[Piece]) -> list[Delta]:
        deltas: list[Delta] = []
        for piece in pieces:
            if isinstance(piece, Content):
                deltas += [self._say(author, text) for author, text in self._attributed(piece.start, piece.text)]
            elif isinstance(piece, CallDelta):
                first = piece.name is not None
                if first:
                    deltas.append(self._call(piece.start, piece.index, piece.name, piece.id, ""))
                else:
                    at = piece.start
                    for author, text in self._attributed(at, piece.arguments):
                        deltas.append(self._call(at, piece.index, None, None, text, author))
                        at += len(text)
            elif isinstance(piece, InvalidToolCall):
                deltas.append(self._break(piece))
        return deltas

    def _say(self, author: Author, text: str) -> Delta:
        if self._begins_with_text is None:
            self._begins_with_text = True
        opening = "" if self.text else self._opening
        start = len(self.text) + len(opening)
        self._spans.add(author, start, start + len(text))
        self.text += opening + text
        return Delta(author, opening + text)

    def _call(
        self, start: int, index: int, name: str | None, call_id: str | None, args: str, author: Author | None = None
    ) -> Delta:
        if self._begins_with_text is None:
            self._begins_with_text = False
        number = 2 * index + self._begins_with_text if self._blocks else index
        part = tool_call_chunk(name=name, args=args, id=call_id, index=number)
        if index in self._calls:
            self._calls[index]["args"] = (self._calls[index]["args"] or "") + args
        else:
            self._calls[index] = part.copy()
        return Delta(author or self._author(start), call=part)

    def _break(self, piece: InvalidToolCall) -> Delta:
        """End a broken call so that no reader of its chunks takes it for a whole one.

        LangChain completes arguments that were cut short; whoever ran the tool would run it with half of them.
        """
        if piece.index in self._calls:
            return self._call(len(self._written), piece.index, None, None, broken_ending(piece.arguments))
        return self._call(len(self._written), piece.index, piece.name, piece.id, piece.source)

    def _author(self, at: int) -> Author:
        """Who wrote the character at ``at`` of all that was written; a forced beginning goes to who went on from it."""
        while len(self._authors) > 1 and self._authors[0][0] <= at:
            self._authors.popleft()
        return self._authors[0][1] if self._authors else Author.STUDENT

    def _attributed(self, start: int, text: str) -> list[tuple[Author, str]]:
        """``text``, which stands at ``start`` of all that was written, cut where its author changes."""
        if not text:
            return []
        self._author(start)
        cut: list[tuple[Author, str]] = []
        at = start
        for end, author in self._authors:
            if part := text[at - start : end - start]:
                cut.append((author, part))
                at += len(part)
        if rest := text[at - start :]:  # written by nobody here: JSON that the parser spelled anew
            cut.append((self._author(at), rest))
        return cut

    def _metadata(self, result: RelayResult, names: Mapping[str, str]) -> dict[str, Any]:
        relay = {**report(result, self._spans.list()), **names}
        if self._written != self.text:
            relay["written"] = {"text": self._written, "spans": self._written_spans.list()}
        if "answer" in result.notes:
            relay["answer"] = result.notes["answer"]
        reason = "tool_calls" if self._calls else finish_reason(result.finish_reason)
        return {"model_name": names["student"], "model_provider": "relay", "finish_reason": reason, "relay": relay}


class _Spans:
    """Who wrote what: runs of characters by one author."""

    def __init__(self) -> None:
        self._runs: list[tuple[Author, int, int]] = []

    def add(self, author: Author, start: int, end: int) -> None:
        if self._runs and self._runs[-1][0] is author and self._runs[-1][2] == start:
            start = self._runs.pop()[1]
        self._runs.append((author, start, end))

    def list(self) -> list[dict[str, Any]]:
        return [{"author": str(author), "start": start, "end": end} for author, start, end in self._runs]


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
