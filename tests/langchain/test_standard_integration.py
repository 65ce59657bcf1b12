"""LangChain's own integration tests for chat models; nothing of them is overridden.

Text runs on the bundled pair. Where a test needs a model that can follow a tool instruction, the student's words come
from ``conftest.follow``, which reads the rendered prompt and writes Qwen3's form; the loop and the plugin are the real
ones, and the teacher is the bundled one throughout.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_relay import ChatRelay
from relay_core import Relay


class TestChatRelayIntegration(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _with_pair(self, instructed_pair: Relay) -> None:
        self.pair = instructed_pair

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatRelay

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"relay": self.pair, "max_tokens": 64}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def returns_usage_metadata(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> dict[Any, list[Any]]:
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = ChatRelay(**self.chat_model_params)
        return model.invoke("Hello again", stream=stream)

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "bundled:student-base"

    @property
    def enable_vcr_tests(self) -> bool:
        return True
