"""One request to ``RelayLLM``: its checked arguments, and the answer in the forms that LlamaIndex requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Generic

from llamaindex_relay.replies import R, Reply
from relay_core.adapters.identity import relay_specs
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.tools import Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[R]):
    """One request to a relay.

    ``reply_class`` converts the answer into LlamaIndex's responses. If ``parallel`` is true, every tool call of the
    answer is kept, otherwise only the first one. ``holds_object``: whether LlamaIndex reads an object from the answer,
    so that an answer without a whole one is an error.
    """

    reply_class: type[Reply[R]]
    relay: Relay
    messages: list[dict[str, Any]]
    settings: RelaySettings
    offered: Offer
    parallel: bool
    holds_object: bool = False

    def answer(self) -> R:
        """The whole answer."""
        return self._reply().whole(self.relay.generate(self.messages, **self._options()))

    async def aanswer(self) -> R:
        """The whole answer."""
        return self._reply().whole(await self.relay.agenerate(self.messages, **self._options()))

    def stream(self) -> Generator[R, None, None]:
        """The answer as it comes; the last response is the whole answer."""
        reply = self._reply()
        events = self.relay.stream(self.messages, **self._options())
        with closing(events):  # type: ignore[type-var]
            for event in events:
                yield from reply.take(event)

    async def astream(self) -> AsyncGenerator[R, None]:
        """The answer as it comes; the last response is the whole answer."""
        reply = self._reply()
        async with aclosing(self.relay.astream(self.messages, **self._options())) as events:
            async for event in events:
                for response in reply.take(event):
                    yield response

    def _reply(self) -> Reply[R]:
        return self.reply_class(
            self.offered,
            names=relay_specs(self.relay),
            settings=self.settings,
            parallel=self.parallel,
            holds_object=self.holds_object,
        )

    def _options(self) -> dict[str, Any]:
        """Arguments of :meth:`Relay.astream`."""
        return {
            "tools": self.offered.tools,
            "prefix": self.offered.prefix,
            "constraint": self.offered.constraint,
            "settings": self.settings,
        }
