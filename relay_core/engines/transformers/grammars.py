"""Constrained decoding: grammars that llguidance compiles, and the state of one request within its grammar.

We compared llguidance and xgrammar, and chose llguidance because it

- reports the keywords of a schema that it does not support, whereas xgrammar silently ignores them;
- takes a tool call as one grammar, with a JSON schema inside (``%json``), and constraints that begin within a text;
- computes a mask in about 0.1 ms for 49,000 to 262,000 tokens, without seconds of preparation for a schema;
- needs no other package (xgrammar needs torch, triton and a compiler's runtime), and has a stable 1.x interface, which
  llama.cpp, SGLang, Chromium and vLLM use too.

Before the first request with a constraint, no library is imported and no vocabulary is read.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from relay_core.constraint import Constraint, Kind
from relay_core.engines.base import LOG
from relay_core.engines.grammar_text import (
    SPACING,
    choice_grammar,
    closing_tag,
    json_text,
    prepared_schema,
    tool_call_grammar,
)
from relay_core.errors import ConfigurationError, EngineError, MissingExtraError
from relay_core.tokenizer import Tokenizer
from relay_core.tools import TOOL_CALL_CLOSE

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher, LLTokenizer

# "\d" means 0 to 9, not every script's digits. "\D" does not mean everything else then: it keeps its meaning.
_ASCII, _NOT_DIGIT = "d", r"\D"
# llguidance encodes a text that has to come, and allows this spelling of it only. It must not where the spelling is a
# control token, which it then refuses, or where it cannot encode.
_UNFORCED = '%llguidance {"no_forcing": true}\n'
CACHED_GRAMMARS = 128  # compiled grammars that an engine keeps; one takes some 10 to 100 KB


class Grammar:
    """One request within its grammar.

    ``matcher`` and ``mask`` belong to ``masks.py``, which computes the mask of the next token. Call :meth:`accept` only
    while no mask is being computed.
    """

    __slots__ = ("mask", "matcher", "size")

    def __init__(self, matcher: LLMatcher, size: int) -> None:
        self.matcher, self.size = matcher, size  # the size of the vocabulary
        self.mask: tuple[Future[torch.Tensor], int] | None = None  # the masks of a step, and the row of this request

    @property
    def is_complete(self) -> bool:
        """Whether the text follows the constraint, and only its end can come next."""
        return self.matcher.is_stopped() and not self.matcher.is_error()

    def accept(self, token_id: int) -> None:
        """Advance by a token that is not an end token.

        Raises:
            EngineError: the grammar does not allow the token, or the grammar has failed.
        """
        self.mask = None
        if not self.matcher.consume_token(token_id):
            raise failure(self.matcher)


class Grammars:
    """The grammars of one engine. Can be used from any thread.

    Args:
        tokenizer: the model's tokenizer.
        size: the number of rows of the model's embedding.
        end_ids: the ids of the model's end tokens; they are allowed only where the text may end.
    """

    def __init__(self, tokenizer: Tokenizer, size: int, end_ids: frozenset[int]) -> None:
        self._tokenizer, self._size, self._end_ids = tokenizer, size, end_ids
        self._vocabulary: LLTokenizer | None = None
        self._is_unforced = False  # for every grammar (_UNFORCED)
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, constraint: Constraint, begun: str) -> Grammar:
        """The grammar of a request whose text so far is ``begun``. Blocks; an engine's first constraint takes 1 s.

        Raises:
            MissingExtraError: llguidance is not installed.
            ConfigurationError: the constraint is not supported.
            EngineError: ``begun`` does not follow the constraint.
        """
        vocabulary, compiled = self.compile(constraint)
        matcher = compiled.deep_copy()
        if begun and not matcher.consume_tokens(vocabulary.greedy_tokenize(begun)):
            raise EngineError(f"the text so far does not follow the constraint: {begun[-80:]!r}")
        return Grammar(matcher, vocabulary.vocab_size)

    def compile(self, constraint: Constraint) -> tuple[LLTokenizer, LLMatcher]:
        """The vocabulary, and the grammar before its first token, which is cached for further requests.

        Raises:
            MissingExtraError: llguidance is not installed.
            ConfigurationError: the constraint is not supported.
        """
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary, self._is_unforced = _vocabulary(self._tokenizer, self._size, self._end_ids)
            text = self._text(constraint, self._vocabulary)
            matcher = self._compiled.get(text)
            if matcher is None:
                matcher = self._compiled[text] = _compiled(constraint, self._vocabulary, text)
            self._compiled.move_to_end(text)
            if len(self._compiled) > CACHED_GRAMMARS:
                self._compiled.popitem(last=False)
            return self._vocabulary, matcher

    def _text(self, constraint: Constraint, vocabulary: LLTokenizer) -> str:
        """The grammar in Lark, in the form that llguidance reads."""
        from llguidance import regex_to_lark

        value, closing, tokens = constraint.value, "", self._tokenizer.control_tokens
        is_unforced = self._is_unforced
        if constraint.kind is Kind.JSON_SCHEMA:
            text = f"start: %json {json_text({'x-guidance': SPACING, **prepared_schema(value)})}\n"
        elif constraint.kind is Kind.REGEX:
            pattern = regex_to_lark(_unanchored(value), "" if _NOT_DIGIT in value else _ASCII)
            return f"{_UNFORCED}start: /{pattern}/\n"
        elif constraint.kind is Kind.CHOICE:
            text = choice_grammar(value)
        else:
            closing_id = self._tokenizer.vocabulary.get(TOOL_CALL_CLOSE)
            if closing_id in self._tokenizer.special_ids or not vocabulary.is_special_token(closing_id or 0):
                closing_id = None  # its text is hidden from the reader, or llguidance reads it as text anyway
            text, closing = tool_call_grammar(value), closing_tag(closing_id)
            is_unforced = is_unforced or (closing_id is None and TOOL_CALL_CLOSE in tokens)
        is_unforced = is_unforced or any(token in text for token in tokens)
        text = tool_call_grammar(value, closing) if closing else text
        return (_UNFORCED if is_unforced else "") + text


def failure(matcher: LLMatcher) -> EngineError:
    """The error for a grammar that no text can continue."""
    return EngineError(f"the constraint cannot be followed: {_first_line(matcher.get_error())}")


def _compiled(constraint: Constraint, vocabulary: LLTokenizer, text: str) -> LLMatcher:
    from llguidance import LLMatcher

    matcher = LLMatcher(vocabulary, text, log_level=0)
    name = "this schema" if constraint.kind is Kind.JSON_SCHEMA else f"this {constraint.kind}"
    name = "the schema of a tool" if constraint.kind is Kind.TOOL_CALL else name
    if matcher.is_error():
        reason = _first_line(matcher.get_error())
        raise ConfigurationError(
            f"{name} cannot be decoded under: {reason}. docs/engines.md says what a constraint may hold"
        )
    for warning in matcher.get_grammar_warnings():
        LOG.warning("%s is held to in part: %s", name, warning)
    return matcher


def _vocabulary(tokenizer: Tokenizer, size: int, end_ids: frozenset[int]) -> tuple[LLTokenizer, bool]:
    """The vocabulary in llguidance's form, and whether llguidance cannot encode with it."""
    try:
        from llguidance import LLTokenizer
        from llguidance.hf import from_tokenizer
    except ImportError as error:
        raise MissingExtraError("decoding under a constraint (llguidance)", "local") from error

    size = max(size, *tokenizer.vocabulary.values(), *end_ids) + 1
    end: Any = sorted(end_ids) or tokenizer.hf.eos_token_id
    try:
        return from_tokenizer(tokenizer.hf, size, end), False
    except ValueError:  # neither bytes nor a sentencepiece vocabulary with bytes
        from llguidance import TokenizerWrapper

        spelled = TokenizerWrapper(_Spelled(tokenizer, size, sorted(end_ids)))
        return LLTokenizer(spelled, size, end), True


class _Spelled:
    """A vocabulary for llguidance: the text that each token adds, in the form that ``TokenizerWrapper`` takes."""

    def __init__(self, tokenizer: Tokenizer, size: int, end_ids: list[int]) -> None:
        self.bos_token_id, self.eos_token_id = None, end_ids[0] if end_ids else size - 1
        anchor = tokenizer.encode("a", begins=True)
        begin = len(tokenizer.decode(anchor))
        texts = [tokenizer.decode([*anchor, i])[begin:] if tokenizer.has_ids([i]) else "" for i in range(size)]
        hidden = tokenizer.special_ids | set(end_ids)
        self.special_token_ids = [i for i, t in enumerate(texts) if i in hidden or not t or "\ufffd" in t]
        self.tokens = [text.encode() or b"<%d>" % i for i, text in enumerate(texts)]

    def __call__(self, text: str) -> list[int]:
        return []  # not needed with _UNFORCED: what has begun is encoded greedily, without this function


def _unanchored(pattern: str) -> str:
    """The pattern without the anchors around it, since the whole text must match it anyway."""
    return re.sub(r"^\^|(?<!\\)\$$", "", pattern)


def _first_line(error: str) -> str:
    return error.strip().partition("\n")[0].rstrip(":")
