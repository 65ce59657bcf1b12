"""A model's tokenizer: it encodes text, decodes token by token, and compares vocabularies by content.

It wraps a Hugging Face fast tokenizer. Chat templates are in ``chat.py``.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core import extras, hub
from relay_core.errors import ConfigurationError, MissingExtraError
from relay_core.unicode import repair_surrogates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from relay_core.template import Template

LONG_TEXT = 20_000  # characters; longer texts are encoded off the event loop
_CONTEXT_IDS = 4  # enough ids to hold the bytes of one unfinished UTF-8 character
_ANCHORS = ("\n", "a", ".")  # a continuation is encoded after one of these texts


class Tokenizer:
    """A fast Hugging Face tokenizer.

    Args:
        hf: the tokenizer; it must be a "fast" one, which has a ``backend_tokenizer``.
        name: the tokenizer's name in error messages; if empty, the path or id that it was loaded from.

    Raises:
        ConfigurationError: ``hf`` is not a fast tokenizer.
    """

    def __init__(self, hf: PreTrainedTokenizerBase, name: str = "") -> None:
        if getattr(hf, "backend_tokenizer", None) is None:
            raise ConfigurationError(f"{name or type(hf).__name__}: a fast tokenizer (tokenizer.json) is needed")
        self.hf = hf
        #: whether the chat template has rendered within its time limit before (``chat.py``)
        self.template_ends = False
        #: what is known of the chat template (``template.py``); ``None`` until it is asked for
        self.template: Template | None = None
        self.name = name or getattr(hf, "name_or_path", "") or type(hf).__name__

    @classmethod
    def load(cls, path_or_id: str | Path) -> Tokenizer:
        """Load a tokenizer from a folder or a hub id, without running remote code.

        Raises:
            ConfigurationError: no tokenizer could be read.
        """
        try:
            with extras.importing():
                from transformers import AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("a tokenizer (transformers)", "local") from error

        try:
            options = hub.download_options(str(path_or_id))
            hf = AutoTokenizer.from_pretrained(str(path_or_id), trust_remote_code=False, **options)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(f"no tokenizer could be read from {path_or_id}: {error}") from error
        return cls(hf, str(path_or_id))

    def encode(self, text: str, *, begins: bool = False) -> list[int]:
        """The ids of ``text``, without special tokens around them. Lone surrogates become U+FFFD.

        Args:
            text: the text.
            begins: whether ``text`` is the beginning of a prompt. Some vocabularies put a space before the first
                word of a text; the ids of a continuation must not begin with one.
        """
        for anchor, anchor_ids in () if begins else self._anchors:
            ids = self._encode(anchor + text)
            if ids[: len(anchor_ids)] == anchor_ids:  # otherwise a token spans anchor and text: try the next anchor
                return ids[len(anchor_ids) :]
        return self._encode(text)

    async def encode_async(self, text: str) -> list[int]:
        """:meth:`encode` without blocking the event loop, however long the text."""
        return self.encode(text) if len(text) <= LONG_TEXT else await asyncio.to_thread(self.encode, text)

    def _encode(self, text: str) -> list[int]:
        try:
            return list(self.hf.backend_tokenizer.encode(text, add_special_tokens=False).ids)
        except (UnicodeEncodeError, TypeError):  # a lone surrogate
            return list(self.hf.backend_tokenizer.encode(repair_surrogates(text), add_special_tokens=False).ids)

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        """The anchor texts and their ids; empty if the vocabulary adds no space, as in most vocabularies."""
        anchors = [(anchor, self._encode(anchor)) for anchor in _ANCHORS]
        return [] if self._encode("\na") == anchors[0][1] + anchors[1][1] else anchors

    def decode(self, ids: Sequence[int], *, control: bool = False) -> str:
        """The text of ``ids``, with spaces unchanged; control tokens are left out unless ``control`` is true.

        Ids that are not in the vocabulary have no text.
        """
        if not self.has_ids(ids):
            ids = [token_id for token_id in ids if self.has_ids([token_id])]
        return str(self.hf.decode(list(ids), skip_special_tokens=not control, clean_up_tokenization_spaces=False))

    def has_ids(self, ids: Iterable[int | None]) -> bool:
        """Whether the vocabulary contains all of ``ids``. Other ids must not be passed between models."""
        return self._known_ids.issuperset(ids)

    def spells(self, ids: Sequence[int], text: str) -> bool:
        """Whether ``ids``, in the middle of a text, decode to exactly ``text``; control tokens count as text."""
        if not self.has_ids(ids):
            return False
        if self.token_bytes is None:
            anchor = self._anchors[0][1] if self._anchors else []
            return self.decode([*anchor, *ids], control=True) == self.decode(anchor) + text
        if not self.special_ids.isdisjoint(ids):
            return False
        return b"".join([self.token_bytes[i] for i in ids]).decode("utf-8", "replace") == text

    def ends_in_character(self, ids: Sequence[int]) -> bool:
        """Whether ``ids`` end in the middle of a character, whose other bytes are in tokens still to come."""
        ids = [token_id for token_id in ids[-_CONTEXT_IDS:] if self.has_ids([token_id])]
        if self.token_bytes is None:
            return bool(ids) and self.decode(ids).endswith("\ufffd")
        tail = b"".join(self.token_bytes[i] for i in ids)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(tail)
        return bool(decoder.getstate()[0])

    def decoder(self, context: Sequence[int] = ()) -> Decoder:
        """A decoder for the tokens that follow the ids ``context``."""
        return Decoder(self, context)

    def prepare(self) -> None:
        """Compute the cached properties now instead of on first use: it takes 0.5 s for 150,000 tokens."""
        _ = self.fingerprint, self.token_bytes, self._known_ids, self.special_tokens, self._anchors

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Every token's id, including added tokens."""
        return dict(self.hf.get_vocab())

    @cached_property
    def _known_ids(self) -> frozenset[int]:
        return frozenset(self.vocabulary.values())

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the vocabulary. Two digests are equal only if each id means the same token in both."""
        ordered = sorted(self.vocabulary, key=self.vocabulary.__getitem__)
        spelled = "\0".join(f"{self.vocabulary[token]}\0{token}" for token in ordered)
        return hashlib.sha256(spelled.encode("utf-8", "surrogatepass")).hexdigest()

    def shares_vocabulary(self, other: Tokenizer | None) -> bool:
        """Whether ids mean the same tokens in ``other``; vocabularies are compared by content, not by name."""
        return other is not None and (other is self or other.fingerprint == self.fingerprint)

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Strings that the tokenizer encodes as one added token (``<|im_end|>``, ``<think>``, …), longest first.

        Runs of spaces, which some vocabularies add as tokens, are left out.
        """
        added = self.hf.get_added_vocab()
        return tuple(sorted((token for token in added if not token.isspace()), key=len, reverse=True))

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """The control tokens that are hidden from the reader, such as ``<|im_end|>``; not ``<think>``."""
        added = self.hf.get_added_vocab()
        return tuple(token for token in self.control_tokens if added[token] in self.special_ids)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the control tokens that are hidden from the reader."""
        marked = {index for index, token in self.hf.added_tokens_decoder.items() if token.special}
        return frozenset(marked.union(map(int, self.hf.all_special_ids)))

    @cached_property
    def token_bytes(self) -> list[bytes] | None:
        """The bytes of every id (empty for special tokens) of a byte-level vocabulary; ``None`` for others."""
        from tokenizers.decoders import ByteLevel

        if not isinstance(self.hf.backend_tokenizer.decoder, ByteLevel):
            return None
        added = set(self.hf.get_added_vocab().values())
        alphabet = _byte_alphabet()
        to_latin1 = str.maketrans({c: chr(byte) for c, byte in alphabet.items()})
        table = [b""] * (max(self.vocabulary.values()) + 1)
        for token, index in self.vocabulary.items():
            if index in self.special_ids:
                continue
            if index in added or not alphabet.keys() >= set(token):
                table[index] = token.encode()
            else:
                table[index] = token.translate(to_latin1).encode("latin-1")
        return table


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's map from the characters of a byte-level vocabulary to bytes."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    alphabet = {chr(b): b for b in plain}
    for n, b in enumerate(b for b in range(256) if b not in plain):
        alphabet[chr(256 + n)] = b
    return alphabet


class Decoder:
    """Decodes ids one at a time: the text of a token is the text that it adds to the reader's text.

    If the bytes of a character are spread over several tokens, the character appears with the token that completes it,
    even if the first of these tokens is in ``context``.

    Args:
        tokenizer: the vocabulary.
        context: the ids before the stream.
    """

    __slots__ = ("_table", "_tokenizer", "_utf8", "_window", "_window_read")

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        # Byte-level vocabularies: each id's bytes, fed to an incremental decoder.
        self._table = tokenizer.token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        # Other vocabularies: the latest ids are decoded together; the text of the first `_window_read` is delivered.
        self._window = list(context[-_CONTEXT_IDS:])
        self._window_read = len(self._window)
        if self._table is not None:
            for token_id in self._window:
                self.step(token_id)
            return
        while self._window_read and tokenizer.decode(self._window[: self._window_read]).endswith("\ufffd"):
            self._window_read -= 1

    @property
    def is_in_character(self) -> bool:
        """Whether the bytes so far end in the middle of a character."""
        if self._table is not None:
            return bool(self._utf8.getstate()[0])
        return self._tokenizer.ends_in_character(self._window)

    def step(self, token_id: int) -> str:
        """The text that this token adds; empty while a character is incomplete."""
        if self._table is not None:
            return self._utf8.decode(self._table[token_id]) if 0 <= token_id < len(self._table) else ""
        delivered = self._tokenizer.decode(self._window[: self._window_read])
        self._window.append(token_id)
        text = self._tokenizer.decode(self._window)
        is_incomplete = text.endswith("\ufffd") and len(self._window) - self._window_read < _CONTEXT_IDS
        if len(text) <= len(delivered) or is_incomplete:
            return ""
        self._window, self._window_read = self._window[self._window_read :], len(self._window) - self._window_read
        return text[len(delivered) :]


def as_tokenizer(value: Any, name: str = "") -> Tokenizer:
    """Wrap a Hugging Face tokenizer; a :class:`Tokenizer` is returned as it is."""
    return value if isinstance(value, Tokenizer) else Tokenizer(value, name)
