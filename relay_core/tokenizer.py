"""A model's tokenizer as the relay needs it: encode, decode as tokens come, compare vocabularies by content.

Stands on a Hugging Face fast tokenizer; templates are in ``chat.py``.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTEXT_IDS = 4  # enough ids to hold the bytes of one unfinished UTF-8 character
_ANCHORS = ("\n", "a", ".")  # ordinary text to stand in front of what does not begin a text


class Tokenizer:
    """A fast Hugging Face tokenizer.

    Args:
        hf: the tokenizer; ``hf.backend_tokenizer`` must exist (a "fast" one).
        name: how messages name it.

    Raises:
        ConfigurationError: it is not a fast tokenizer.
    """

    def __init__(self, hf: PreTrainedTokenizerBase, name: str = "") -> None:
        if getattr(hf, "backend_tokenizer", None) is None:
            raise ConfigurationError(f"{name or type(hf).__name__}: a fast tokenizer (tokenizer.json) is needed")
        self.hf = hf
        self.name = name or getattr(hf, "name_or_path", "") or type(hf).__name__

    @classmethod
    def load(cls, path_or_id: str | Path) -> Tokenizer:
        """Load from a folder or a hub id; never runs remote code.

        Raises:
            ConfigurationError: there is no readable tokenizer there.
        """
        from transformers import AutoTokenizer

        try:
            hf = AutoTokenizer.from_pretrained(str(path_or_id), trust_remote_code=False)
        except Exception as error:
            raise ConfigurationError(f"no tokenizer could be read from {path_or_id}: {error}") from error
        return cls(hf, str(path_or_id))

    def encode(self, text: str, *, begins: bool = False) -> list[int]:
        """Ids of ``text`` as it stands: nothing added in front or behind. Lone surrogates become U+FFFD.

        Some vocabularies put a space before whatever begins a text; ``begins`` says that this text does.
        """
        for anchor, anchor_ids in () if begins else self._anchors:
            ids = self._encode(anchor + text)
            if ids[: len(anchor_ids)] == anchor_ids:  # else they have merged
                return ids[len(anchor_ids) :]
        return self._encode(text)

    def _encode(self, text: str) -> list[int]:
        try:
            return list(self.hf.backend_tokenizer.encode(text, add_special_tokens=False).ids)
        except (UnicodeEncodeError, TypeError):
            clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return list(self.hf.backend_tokenizer.encode(clean, add_special_tokens=False).ids)

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        """What to encode behind, where text alone would get a space in front; empty for most vocabularies."""
        anchors = [(anchor, self._encode(anchor)) for anchor in _ANCHORS]
        return [] if self._encode("\na") == anchors[0][1] + anchors[1][1] else anchors

    def decode(self, ids: Sequence[int], *, control: bool = False) -> str:
        """Text of ``ids``, spaces untouched; control tokens only with ``control``."""
        return str(self.hf.decode(list(ids), skip_special_tokens=not control, clean_up_tokenization_spaces=False))

    def spells(self, ids: Sequence[int], text: str) -> bool:
        """Whether ``ids``, somewhere within a text, say exactly ``text`` and nothing else, control tokens included."""
        if self.token_bytes is None:
            anchor = self._anchors[0][1] if self._anchors else []
            return self.decode([*anchor, *ids], control=True) == self.decode(anchor) + text
        if not self.special_ids.isdisjoint(ids):
            return False
        return b"".join([self.token_bytes[i] for i in ids]).decode("utf-8", "replace") == text

    def decoder(self, context: Sequence[int] = ()) -> Decoder:
        """A decoder for tokens that follow ``context``."""
        return Decoder(self, context)

    def prepare(self) -> None:
        """Work out now what is otherwise worked out on first use: half a second for 150,000 tokens."""
        _ = self.fingerprint, self.token_bytes, self.special_tokens, self._anchors

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Every token's id, added tokens included."""
        return dict(self.hf.get_vocab())

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the vocabulary: equal exactly where every id means the same token."""
        ordered = sorted(self.vocabulary, key=self.vocabulary.__getitem__)
        spelled = "\0".join(f"{self.vocabulary[token]}\0{token}" for token in ordered)
        return hashlib.sha256(spelled.encode("utf-8", "surrogatepass")).hexdigest()

    def shares_vocabulary(self, other: Tokenizer | None) -> bool:
        """Whether ids can travel to ``other`` untouched; compared by content, not by name."""
        return other is not None and (other is self or other.fingerprint == self.fingerprint)

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Strings that the tokenizer reads as one added token (``<|im_end|>``, ``<think>``, …), longest first.

        Runs of spaces that some vocabularies add are none.
        """
        added = self.hf.get_added_vocab()
        return tuple(sorted((token for token in added if not token.isspace()), key=len, reverse=True))

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Those of :attr:`control_tokens` that no reader sees; ``<think>`` is none of them, ``<|im_end|>`` is."""
        added = self.hf.get_added_vocab()
        return tuple(token for token in self.control_tokens if added[token] in self.special_ids)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens that no reader sees."""
        marked = {index for index, token in self.hf.added_tokens_decoder.items() if token.special}
        return frozenset(marked.union(map(int, self.hf.all_special_ids)))

    @cached_property
    def token_bytes(self) -> list[bytes] | None:
        """The bytes of every id, for byte-level vocabularies; ``None`` for others."""
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
    """Turns ids into text as they come: a token's text is what the reader's text grows by.

    A character whose bytes are spread over tokens appears with the token that completes it, also where the first
    of them stood before this stream began (``context``).
    """

    __slots__ = ("_read", "_table", "_tokenizer", "_utf8", "_window")

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._table = tokenizer.token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._window = list(context[-_CONTEXT_IDS:])  # other vocabularies: ids decoded together,
        self._read = len(self._window)  # the text of the first so many of which has been given out
        while self._table is None and self._read and tokenizer.decode(self._window[: self._read]).endswith("\ufffd"):
            self._read -= 1
        if self._table is not None:
            for token_id in self._window:
                self.step(token_id)

    def step(self, token_id: int) -> str:
        """The text that this token adds; empty while a character is incomplete."""
        if self._table is not None:
            return self._utf8.decode(self._table[token_id]) if 0 <= token_id < len(self._table) else ""
        given = self._tokenizer.decode(self._window[: self._read])
        self._window.append(token_id)
        text = self._tokenizer.decode(self._window)
        if len(text) <= len(given) or (text.endswith("\ufffd") and len(self._window) - self._read < _CONTEXT_IDS):
            return ""
        self._window, self._read = self._window[self._read :], len(self._window) - self._read
        return text[len(given) :]


def as_tokenizer(value: Any, name: str = "") -> Tokenizer:
    """Wrap a Hugging Face tokenizer, or pass a :class:`Tokenizer` through."""
    return value if isinstance(value, Tokenizer) else Tokenizer(value, name)
