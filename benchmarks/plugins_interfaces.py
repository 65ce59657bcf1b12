"""The interfaces that ``plugins.py`` compares: the relay, both plugins, and each framework around a ready text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from relay_core import Relay, TextDelta

#: answers all prompts at once; returns the texts
Interface = Callable[[Sequence[str]], Awaitable[Sequence[str]]]


def all_interfaces(relay: Relay) -> dict[str, Interface]:
    """The relay's own interface, and that of both plugins."""
    from langchain_relay import ChatRelay
    from llamaindex_relay import RelayLLM

    return {
        **relay_interfaces(relay),
        **langchain_interfaces(ChatRelay(relay=relay)),
        **llamaindex_interfaces(RelayLLM(relay=relay)),
    }


def framework_interfaces(texts: Sequence[str]) -> dict[str, Interface]:
    """The floor: each framework around a model that only hands over ``texts``, whatever the prompt is."""
    return {
        **langchain_interfaces(_langchain_model(texts)),
        **llamaindex_interfaces(_llamaindex_model(texts)),
    }


def relay_interfaces(relay: Relay) -> dict[str, Interface]:
    """The relay, whole answers and streamed."""

    async def generate_one(prompt: str) -> str:
        return (await relay.agenerate(prompt)).text

    async def stream_one(prompt: str) -> str:
        return "".join([event.text async for event in relay.astream(prompt) if isinstance(event, TextDelta)])

    return {"relay": _for_each(generate_one), "relay astream": _for_each(stream_one)}


def langchain_interfaces(chat: Any) -> dict[str, Interface]:
    """A LangChain chat model, whole answers and streamed."""

    async def batch(prompts: Sequence[str]) -> list[str]:
        return [message.text for message in await chat.abatch(list(prompts))]

    async def stream_one(prompt: str) -> str:
        return "".join([chunk.text async for chunk in chat.astream(prompt)])

    return {"langchain abatch": batch, "langchain astream": _for_each(stream_one)}


def llamaindex_interfaces(llm: Any) -> dict[str, Interface]:
    """A LlamaIndex LLM, whole answers and streamed."""

    async def complete_one(prompt: str) -> str:
        return str((await llm.acomplete(prompt)).text)

    async def stream_one(prompt: str) -> str:
        return "".join([response.delta or "" async for response in await llm.astream_complete(prompt)])

    return {"llamaindex acomplete": _for_each(complete_one), "llamaindex astream": _for_each(stream_one)}


def _for_each(answer_one: Callable[[str], Awaitable[str]]) -> Interface:
    async def answer_all(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(answer_one, prompts))

    return answer_all


def _langchain_model(texts: Sequence[str]) -> Any:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    class ReadyText(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "ready-text"

        def _generate(self, *_: Any, **__: Any) -> ChatResult:
            raise NotImplementedError

        async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage(content="".join(texts)))])

        async def _astream(self, *_: Any, **__: Any) -> Any:
            for text in texts:
                yield ChatGenerationChunk(message=AIMessageChunk(content=text, name="student"))

    return ReadyText()


def _llamaindex_model(texts: Sequence[str]) -> Any:
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
    from llama_index.core.llms.callbacks import llm_completion_callback

    class ReadyText(CustomLLM):
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata()

        def complete(self, *_: Any, **__: Any) -> CompletionResponse:
            raise NotImplementedError

        def stream_complete(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

        @llm_completion_callback()
        async def acomplete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
            return CompletionResponse(text="".join(texts))

        @llm_completion_callback()
        async def astream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
            async def responses() -> Any:
                so_far = ""
                for text in texts:
                    so_far += text
                    yield CompletionResponse(text=so_far, delta=text)

            return responses()

    return ReadyText()
