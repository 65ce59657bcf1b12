"""The abilities of a relay as LangChain's ``ModelProfile``, which agents' middleware reads."""

from __future__ import annotations

from langchain_core.language_models.model_profile import ModelProfile

from relay_core.relay import Relay


def model_profile(relay: Relay) -> ModelProfile:
    """The abilities and the context window of ``relay``; loads nothing.

    The profile has no window if no engine knows its context length before it has started.
    """
    profile = ModelProfile(
        text_inputs=True,
        text_outputs=True,
        image_inputs=False,
        audio_inputs=False,
        pdf_inputs=False,
        video_inputs=False,
        tool_calling=True,
        tool_choice=relay.student.continues,
    )
    if (window := relay.context_length) is not None:
        profile["max_input_tokens"] = window
    return profile
