"""A model's tokenizer as the relay needs it: encode, decode as tokens come, compare vocabularies by content.

Stands on a Hugging Face fast tokenizer; templates are in ``chat.py``.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTEXT_IDS = 4  # enough ids to hold the bytes of one unfinished UTF-8 character


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

    def encode(self, text: str) -> list[int]:
        """Ids of ``text`` as it stands: nothing added in front or behind. Lone surrogates become U+FFFD."""
        try:
            return list(self.hf.backend_tokenizer.encode(text, add_special_tokens=False).ids)
        except (UnicodeEncodeError, TypeError):
            clean = text.encode("utf-8", "replace").decode("utf-8")
            return list(self.hf.backend_tokenizer.encode(clean, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``, control tokens left out, spaces untouched."""
        return str(
            self.hf.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)  # type: ignore[arg-type]
        )

    def decoder(self, context: Sequence[int] = ()) -> Decoder:
        """A decoder for tokens that follow ``context``."""
        return Decoder(self, context)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the vocabulary: equal exactly where every id means the same token."""
        digest = hashlib.sha256()
        for token, index in sorted(self.hf.get_vocab().items(), key=lambda item: item[1]):
            digest.update(f"{index}\0{token}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def shares_vocabulary(self, other: Tokenizer | None) -> bool:
        """Whether ids can travel to ``other`` untouched; compared by content, not by name."""
        return other is not None and (other is self or other.fingerprint == self.fingerprint)

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Strings that the tokenizer reads as one added token (``<|im_end|>``, ``<think>``, …), longest first."""
        added = self.hf.get_added_vocab()
        return tuple(sorted(added, key=len, reverse=True))

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens that no reader sees."""
        return frozenset(int(i) for i in self.hf.all_special_ids)

    @cached_property
    def token_bytes(self) -> list[bytes] | None:
        """The bytes of every id, for byte-level vocabularies; ``None`` for others."""
        spec = json.loads(self.hf.backend_tokenizer.to_str())
        if (spec.get("decoder") or {}).get("type") != "ByteLevel":
            return None
        added = set(self.hf.get_added_vocab().values())
        alphabet = _byte_alphabet()
        table = [b""] * (max(self.hf.get_vocab().values()) + 1)
        for token, index in self.hf.get_vocab().items():
            if index in added:
                table[index] = b"" if index in self.special_ids else token.encode()
            else:
                table[index] = bytes(alphabet[c] for c in token)
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

    __slots__ = ("_pending", "_table", "_tokenizer", "_utf8")

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._table = tokenizer.token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[int] = []
        tail = list(context[-_CONTEXT_IDS:])
        if self._table is not None:
            for token_id in tail:
                self.step(token_id)
        else:
            self._pending = tail

    def step(self, token_id: int) -> str:
        """The text that this token adds; empty while a character is incomplete."""
        if self._table is not None:
            if 0 <= token_id < len(self._table):
                return self._utf8.decode(self._table[token_id])
            return ""
        before = self._tokenizer.decode(self._pending)
        self._pending.append(token_id)
        after = self._tokenizer.decode(self._pending)
        if after.endswith("\ufffd") and len(self._pending) < 2 * _CONTEXT_IDS:
            return ""
        self._pending = self._pending[-_CONTEXT_IDS:]
        return after[len(before.rstrip("\ufffd")) :] if after.startswith(before.rstrip("\ufffd")) else after


def as_tokenizer(value: Any, name: str = "") -> Tokenizer:
    """Wrap a Hugging Face tokenizer, or pass a :class:`Tokenizer` through."""
    return value if isinstance(value, Tokenizer) else Tokenizer(value, name)
