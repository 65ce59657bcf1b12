"""One request to ``ChatRelay``: its checked arguments, and the answer in the forms that LangChain requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGenerationChunk

from langchain_relay.errors import langchain_errors
from langchain_relay.replies import Delta, Reply
from relay_core.adapters.identity import relay_specs
from relay_core.adapters.structured import start_constraining_engine, with_room_for_json, write_json
from relay_core.errors import ConfigurationError
from relay_core.events import Event, Finished, RelayResult, TextDelta
from relay_core.keys import Role
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.tools import Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to a relay."""

    #: the relay that answers
    relay: Relay
    #: the conversation, in the form for chat templates
    messages: list[dict[str, Any]]
    #: the settings of this answer
    settings: RelaySettings
    #: the tools on offer
    offered: Offer
    #: text that the answer is forced to begin with, and that is part of the answer
    opening: str
    #: a JSON schema for the answer; ``None`` for free text
    schema: Mapping[str, Any] | None
    #: the model that writes the JSON under ``schema``
    structured_by: Role
    #: whether to number tool calls as content blocks, so that no tool call has the index of a run of text
    numbered_blocks: bool

    async def message(self) -> AIMessage:
        """The whole answer. It is not streamed, because there are no callbacks to stream to."""
        reply = self._reply()
        if self.schema is None:
            with langchain_errors():
                result = await self.relay.agenerate(self.messages, **self._options())
            reply.take_all(result)
            return reply.message(result)
        async with aclosing(self._pieces(reply)) as pieces:
            async for piece in pieces:
                if isinstance(piece, RelayResult):
                    result = piece
        return reply.message(result)

    async def tokens(self) -> AsyncGenerator[str | AIMessage, None]:
        """The answer's text while it arrives, for callbacks; the last item is the whole message."""
        reply = self._reply()
        async with aclosing(self._pieces(reply)) as pieces:
            async for piece in pieces:
                yield piece.text if isinstance(piece, Delta) else reply.message(piece)

    async def chunks(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """The answer in chunks; the last chunk has the usage and the report."""
        reply = self._reply()
        async with aclosing(self._pieces(reply)) as pieces:
            async for piece in pieces:
                yield piece.chunk() if isinstance(piece, Delta) else reply.last_chunk(piece)

    def _reply(self) -> Reply:
        return Reply(
            self.offered,
            names=relay_specs(self.relay),
            settings=self.settings,
            opening=self.opening,
            numbered_blocks=self.numbered_blocks,
        )

    def _options(self) -> dict[str, Any]:
        """Arguments of :meth:`Relay.astream`."""
        prefix = self.offered.prefix or self.opening
        return {
            "tools": self.offered.tools or None,
            "prefix": prefix,
            "constraint": self.offered.constraint,
            "settings": self.settings if self.schema is None else with_room_for_json(self.settings),
        }

    async def _pieces(self, reply: Reply) -> AsyncGenerator[Delta | RelayResult, None]:
        """The parts of the answer that the reader sees; the last item is the result.

        If there is a schema, the text of the answer is not shown, but only its tool calls or, if there are none, its
        JSON.
        """
        if self.schema is not None:
            with langchain_errors():
                await start_constraining_engine(self.relay, self.structured_by, self.schema)
        with langchain_errors():
            async with aclosing(self.relay.astream(self.messages, **self._options())) as events:
                async for event in events:
                    for delta in _deltas(event, reply):
                        if self.schema is None or delta.tool_call is not None:
                            yield delta
                    if isinstance(event, Finished):
                        result = event.result
        if self.schema is None or reply.calls_tools:
            yield result
            return
        reply.restart()
        json_events = write_json(
            self.relay, self.messages, result, self.schema, by=self.structured_by, settings=self.settings
        )
        with langchain_errors():
            async with aclosing(json_events):
                async for event in json_events:
                    for delta in _deltas(event, reply):
                        yield delta
                    if isinstance(event, Finished):
                        yield event.result


def _deltas(event: Event, reply: Reply) -> list[Delta]:
    if isinstance(event, TextDelta):
        return reply.take(event)
    return reply.flush(event.result) if isinstance(event, Finished) else []


def output_format(response_format: Any, offered: Offer) -> tuple[str, Mapping[str, Any] | None]:
    """The opening of the answer and the schema of its JSON, for OpenAI's ``response_format``.

    Raises:
        ConfigurationError: its type is not ``text``, ``json_object`` or ``json_schema``.
    """
    kind = response_format.get("type") if isinstance(response_format, Mapping) else response_format
    if kind in (None, "text"):
        return "", None
    if kind == "json_object":
        return ("" if offered.tools else "{"), None  # with tools on offer, the answer may begin with a tool call
    if kind == "json_schema" and isinstance(response_format, Mapping):
        schema = response_format.get("json_schema")
        schema = schema.get("schema", schema) if isinstance(schema, Mapping) else None
        if isinstance(schema, Mapping):
            return "", schema
    raise ConfigurationError(
        f'response_format is {response_format!r}: write {{"type": "json_object"}} or {{"type": "json_schema", '
        '"json_schema": {"name": ..., "schema": {...}}}'
    )
