"""The base class of engines whose model is loaded by this process: start, tokenizer and context."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator

from relay_core.engines.base import Chunk, Engine, Prompt, Sampling, Warming
from relay_core.engines.forked import model_lost
from relay_core.engines.model_source import ModelSource
from relay_core.template import check_template
from relay_core.tokenizer import Tokenizer


class InProcessEngine(Engine):
    """An engine that loads its model when it starts.

    The constructors of subclasses set ``spec`` and the attributes below.
    """

    speaks_ids = True
    reports_top_logprob = True
    biases_logits = True
    warmable = True

    _source: ModelSource | None  # None if the model was loaded by the caller
    _tokenizer: Tokenizer | None  # None until it is loaded
    _context: int | None  # the model's context length in tokens; None while it is unknown

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            assert self._source is not None  # a loaded model comes with its tokenizer
            self._tokenizer = self._source.load_tokenizer()
        return self._tokenizer

    @property
    def loaded_tokenizer(self) -> Tokenizer | None:
        return self._tokenizer

    @property
    def context_length(self) -> int | None:
        return self._context

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether the model is loaded and takes requests."""

    async def load(self) -> None:
        if self.is_lost_in_fork:
            return  # the call fails, with the error of `start`
        if not self.running:
            tokenizer = await asyncio.to_thread(lambda: self.tokenizer)
            await asyncio.to_thread(check_template, tokenizer)  # before the weights are loaded
        await self.start()

    async def start(self) -> None:
        if self.is_lost_in_fork:
            raise model_lost(self.spec)
        if not self.running:
            await asyncio.to_thread(self._start)

    @abstractmethod
    def _start(self) -> None:
        """Load the model, blocking, unless it is already loaded. Safe to call from several threads."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, None)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, warming)

    @abstractmethod
    def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        """:meth:`stream`, or :meth:`warm_stream` if ``warming`` is given."""
