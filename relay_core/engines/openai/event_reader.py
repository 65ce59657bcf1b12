"""Reads the events of a streamed response into chunks.

Everything in a response that violates the protocol becomes a :class:`~relay_core.engines.openai.faults.Fault` here, so
that other modules never see malformed data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from relay_core.engines.base import Chunk, EngineUsage, Finish, Token
from relay_core.engines.openai.faults import Fault, NoAnswer, reading
from relay_core.engines.openai.logprobs import Entry, TokenTexts, entries
from relay_core.engines.openai.parsed_tool_calls import ParsedToolCall
from relay_core.engines.openai.protocol import Mode
from relay_core.engines.openai.usage_reports import UsageReports
from relay_core.errors import EngineError
from relay_core.unicode import repair_surrogates

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

_ENDS = ("stop", "tool_calls", "function_call", "eos_token", "stop_sequence", "end_turn")
_LENGTHS = ("length", "max_tokens", "max_output_tokens", "max_length", "model_length", "model_context_window_exceeded")
_BREAKS = ("abort", "error", "insufficient_system_resource")  # the server gave up the request
_NO_REASONS = ("", "null", "none")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")


class EventReader:
    """Reads the payloads of one response into chunks.

    Args:
        mode: the mode of the request.
        tokenizer: the endpoint's tokenizer, needed in mode ``ids``.
        context: the last ids before the response, so that a character split between tokens is decoded.
        continues: whether the response continues a text, in which case it may be empty.
        resumes: whether the response continues what an earlier response of the same stream delivered.
    """

    def __init__(
        self,
        mode: Mode,
        tokenizer: Tokenizer | None,
        context: Sequence[int],
        *,
        continues: bool = False,
        resumes: bool = False,
    ) -> None:
        self._tools, self._texts = ParsedToolCall(), TokenTexts()
        self._ids: _IdReader | None = None
        if mode is Mode.IDS:
            assert tokenizer is not None
            self._ids = _IdReader(tokenizer, context)
        self._continues, self._resumes = continues, resumes
        self._has_content = False
        self._usage = UsageReports()
        self._reason: str | None = None  # the last finish reason that the endpoint sent
        self._finish: Finish | None = None  # the finish that this reason means
        self._possible_end_token: Token | None = None
        #: the number of events with reasoning, which is not delivered
        self.reasoning_events = 0
        #: content arrived after a finish reason, so the endpoint sends a finish reason in every event
        self.hints = False

    @property
    def usage(self) -> EngineUsage | None:
        """The usage that the response has reported so far."""
        return self._usage.total

    def read(self, payload: Mapping[str, Any]) -> Chunk:
        """Read one payload into a chunk. A finish reason becomes its ``ending``, since more tokens may follow.

        Raises:
            Fault: the payload violates the protocol.
        """
        with reading("event"):
            return self._read(payload)

    def _read(self, payload: Mapping[str, Any]) -> Chunk:
        self._usage.add(payload.get("usage"))
        choices = payload.get("choices")
        if not choices:
            return Chunk(usage=self._usage.total)
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise Fault(f"malformed choices in the event stream: {str(choices)[:80]}")
        choice = choices[0]
        self._usage.add(choice.get("usage"))
        text, reasoning = _text(choice)
        self.reasoning_events += reasoning
        ended_before = self._reason is not None
        self._read_reason(choice)
        tokens = self._read_text(choice, text) if self._ids is None else self._read_ids(self._ids, choice, text)
        if self._ids is None and not text and not reasoning:
            self._texts.keep(choice)
        has_content = bool(tokens) or self._tools.has_calls
        self.hints = self.hints or (ended_before and bool(tokens))
        self._has_content = self._has_content or has_content
        return Chunk(tuple(tokens), ending=self._finish, usage=self._usage.total)

    def _read_text(self, choice: Mapping[str, Any], text: str) -> list[Token]:
        tokens = self._tools.read(choice, text)
        if len(tokens) != 1 or tokens[0].is_tool_call or tokens[0].text != text:
            return tokens
        return self._texts.cut(tokens[0], choice)

    def _read_ids(self, ids: _IdReader, choice: Mapping[str, Any], text: str) -> list[Token]:
        tokens = ids.read(choice, text)
        if self._possible_end_token is not None and tokens:  # it did not end the answer
            tokens.insert(0, self._possible_end_token)
            self._possible_end_token = None
        is_known = self._reason in _ENDS
        if tokens and choice.get("finish_reason") and self._finish is Finish.END and (is_known or not tokens[-1].text):
            self._possible_end_token = tokens.pop()
        return tokens

    def _read_reason(self, choice: Mapping[str, Any]) -> None:
        reason = choice.get("finish_reason")
        if not reason or str(reason).lower() in _NO_REASONS:
            return
        self._reason = str(reason)
        # stop_reason: None for the end token, otherwise the id of another end token, or the stop string
        if self._reason.lower() in _LENGTHS:
            self._finish = Finish.LENGTH
        elif self._reason == "stop" and isinstance(choice.get("stop_reason"), str):
            self._finish = Finish.STOP
        else:
            self._finish = Finish.END

    def end(self, *, is_done: bool) -> Chunk:
        """The last chunk: the rest of the text, the finish, the usage and notes.

        Args:
            is_done: whether the endpoint sent ``[DONE]``.

        Raises:
            Fault: the response ended before the answer did.
            NoAnswer: the answer has no text.
            EngineError: the endpoint's content filter ended the answer.
        """
        if self._reason is None and not (is_done and (self._has_content or self._resumes)):
            raise Fault("the stream ended before the answer did" + self._reasoned)
        reason = self._reason or "stop"
        if reason == "content_filter":
            raise EngineError("the endpoint's content filter cut the answer off")
        is_known = reason in _ENDS or reason in _LENGTHS
        has_content = self._has_content or self._resumes
        if reason.lower() in _BREAKS or not (is_known or has_content):
            raise Fault(f"the endpoint ended with {reason[:80]!r}")
        finish = self._finish or Finish.END
        tokens = self._tools.end(is_cut=finish is Finish.LENGTH)
        end_token, self._possible_end_token = self._possible_end_token, None
        if end_token is not None and (finish is not Finish.END or (self.hints and end_token.text)):
            tokens, end_token = [end_token, *tokens], None
        if not has_content and end_token is None:
            self._check_may_be_empty(reason)
        return Chunk(tuple(tokens), finish, end_token, self._usage.total, self.notes)

    def _check_may_be_empty(self, reason: str) -> None:
        """Raise an error for an empty answer, unless the request continues a text."""
        usage = self._usage.total
        written = max(self.reasoning_tokens, (usage.completion_tokens if usage is not None else None) or 0)
        if self.reasoning_tokens:
            raise NoAnswer(
                f"the endpoint only reasoned ({written} tokens) and wrote no answer "
                f"(finish_reason {reason[:80]!r}): allow more tokens, or turn its reasoning off",
                usage,
                written,
            )
        if not self._continues or reason not in ("stop", "eos_token", "stop_sequence", "end_turn"):
            raise NoAnswer(
                f"the endpoint answered without a word of text (finish_reason {reason[:80]!r})", usage, written
            )

    @property
    def reasoning_tokens(self) -> int:
        """The number of reasoning tokens: as reported, but at least one per event with reasoning."""
        return max(self.reasoning_events, self._usage.reasoning_tokens)

    @property
    def _reasoned(self) -> str:
        return f": only reasoning came ({self.reasoning_events} events)" if self.reasoning_events else ""

    @property
    def notes(self) -> dict[str, Any]:
        """Remarks: an unknown finish reason, and reasoning tokens, which are not delivered."""
        notes: dict[str, Any] = {}
        if self._reason is not None and self._reason not in (*_ENDS, "length"):
            notes["finish_reason"] = f"the endpoint ended with {self._reason[:80]!r}"
        if self.reasoning_tokens:
            notes["reasoning_tokens"] = self.reasoning_tokens
        return notes


class _IdReader:
    """Token ids and their text, checked against the text that the server sends with them."""

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int]) -> None:
        self._decoder = tokenizer.decoder(context)
        self._vocabulary_size = len(tokenizer.hf)  # padding ids mean nothing, and other models may lack them
        self._uncompared_decoded = self._uncompared_sent = ""

    def read(self, choice: Mapping[str, Any], text: str) -> list[Token]:
        """The tokens of one choice, whose text is ``text``.

        Raises:
            Fault: the ids are not in the vocabulary, or their text differs from the server's.
        """
        ids = choice.get("token_ids")
        if ids is None and not text:
            return []
        if not isinstance(ids, list) or any(type(i) is not int or not 0 <= i < self._vocabulary_size for i in ids):
            raise Fault(f"wrong token ids in the event stream: {str(ids)[:80]}")
        said = entries(choice)
        if len(said) != len(ids):
            said = [Entry("", None, None)] * len(ids)
        tokens = [
            Token(i, self._decoder.step(i), entry.logprob, top_logprob=entry.top_logprob)
            for i, entry in zip(ids, said, strict=True)
        ]
        self._compare("".join(token.text for token in tokens), text)
        return tokens

    def _compare(self, decoded: str, sent: str) -> None:
        """Compare the text of the ids with the server's text, up to the shorter of the two; the server may hold back
        text.

        Decoders write U+FFFD in different places, so text with U+FFFD is not compared.
        """
        decoded, sent = self._uncompared_decoded + decoded, self._uncompared_sent + sent
        common = min(len(decoded), len(sent))
        if decoded[:common] != sent[:common] and "\ufffd" not in decoded + sent:
            raise Fault(
                f"wrong token ids in the event stream: they say {decoded[:common][-40:]!r}, "
                f"the text says {sent[:common][-40:]!r}"
            )
        self._uncompared_decoded, self._uncompared_sent = decoded[common:], sent[common:]


def _text(choice: Mapping[str, Any]) -> tuple[str, bool]:
    """The text of one choice, and whether it holds reasoning, which is not part of the answer."""
    source: Any = choice
    for name in ("delta", "message"):
        if choice.get(name) is not None:
            source = choice[name]
    if not isinstance(source, Mapping):
        raise Fault(f"malformed text in the event stream: {str(source)[:80]!r}")
    reasons = any(source.get(name) for name in _REASONING_FIELDS)
    content = source.get("content")
    for other in (source.get("refusal"), source.get("text"), choice.get("text")):
        content = content or other
    texts: list[str] = []
    for text, is_reasoning in _parts(content):
        if is_reasoning:
            reasons = True
        else:
            texts.append(text)
    return repair_surrogates("".join(texts)), reasons


def _parts(content: Any) -> Iterator[tuple[str, bool]]:
    """The parts of a content; each has a flag that says whether it is reasoning."""
    if content is None:
        return
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, Mapping):
            kind = str(part.get("type", "text"))
            is_reasoning = "reasoning" in kind or "thinking" in kind
            part = "" if is_reasoning else part.get("text", part.get("refusal"))
            part = part.get("value") if isinstance(part, Mapping) else part
            if part is None and isinstance(content, list):  # a picture, for example
                continue
        else:
            is_reasoning = False
        if not isinstance(part, str):
            raise Fault(f"malformed text in the event stream: {str(part)[:80]!r}")
        yield part, is_reasoning
