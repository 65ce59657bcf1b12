"""The shop of the examples: a LlamaIndex index of its lists, with one document per paragraph.

The embedding counts words, so that nothing has to be downloaded; you can use any embedding model in its place.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding

LISTS = Path(__file__).parent / "data" / "shop"
COMMON = frozenset(("a", "and", "at", "but", "does", "for", "how", "in", "is", "many", "more", "of", "one", "the"))


class WordCount(BaseEmbedding):
    """Counts words in ``size`` dimensions; a plural counts as its singular."""

    size: int = 4096

    def _get_text_embedding(self, text: str) -> list[float]:
        counts = [0.0] * self.size
        for word in re.findall(r"[a-z]+", text.lower()):
            if word not in COMMON:
                counts[zlib.crc32(word.removesuffix("s").encode()) % self.size] += 1.0
        return counts if any(counts) else [1.0] * self.size

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def documents() -> list[Document]:
    """One document for each paragraph of the lists."""
    lists = [path.read_text() for path in sorted(LISTS.glob("*.txt"))]
    return [Document(text=paragraph.strip()) for text in lists for paragraph in text.split("\n\n")]


def index() -> VectorStoreIndex:
    """An index of the lists."""
    return VectorStoreIndex.from_documents(documents(), embed_model=WordCount())
