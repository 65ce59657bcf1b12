"""The abilities of a relay as LangChain's ``ModelProfile``, which agents' middleware reads."""

from __future__ import annotations

from langchain_core.language_models.model_profile import ModelProfile

from relay_core.adapters.identity import calls_tools
from relay_core.relay import Relay
from relay_core.template import template_of


def model_profile(relay: Relay) -> ModelProfile:
    """The abilities and the context window of ``relay``; loads nothing.

    The profile has no window if no engine knows its context length before it has started, and no ``tools_as_text``
    before the student's tokenizer is loaded.
    """
    has_tools = calls_tools(relay.student)
    profile = ModelProfile(
        text_inputs=True,
        text_outputs=True,
        image_inputs=False,
        audio_inputs=False,
        pdf_inputs=False,
        video_inputs=False,
        tool_calling=has_tools,
        tool_choice=has_tools and relay.student.continues,
    )
    tokenizer = relay.student.loaded_tokenizer
    if has_tools and tokenizer is not None:
        # not a field of LangChain's: the template shows no tools, so they are written into the messages as text
        profile["tools_as_text"] = template_of(tokenizer).tools_as_text  # type: ignore[typeddict-unknown-key]
    if (window := relay.context_length) is not None:
        profile["max_input_tokens"] = window
    return profile
