"""The abilities of a relay as LangChain's ``ModelProfile``, which the middleware of agents reads."""

from __future__ import annotations

from langchain_core.language_models.model_profile import ModelProfile

from relay_core.adapters.identity import calls_tools
from relay_core.relay import Relay


def model_profile(relay: Relay) -> ModelProfile:
    """The abilities and the context window of ``relay``; loads nothing.

    A student whose chat template knows no tools calls them too: they are written into its messages as text, and
    ``relay doctor`` and the answer's notes say so (LangChain warns of keys here that it does not know).
    The profile has no window if no engine knows its context length before it has started.
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
    if (window := relay.context_length) is not None:
        profile["max_input_tokens"] = window
    return profile
