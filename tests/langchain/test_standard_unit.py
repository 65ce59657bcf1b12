"""LangChain's own unit tests for chat models; nothing of them is overridden."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_relay import ChatRelay


class TestChatRelayUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatRelay

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def returns_usage_metadata(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"RELAY_TEACHER_API_KEY": "a-teacher's-key", "RELAY_STUDENT_API_KEY": "a-student's-key"},
            {},
            {"teacher_api_key": "a-teacher's-key", "student_api_key": "a-student's-key"},
        )
