"""Relay decoding: a small student model writes the answer, and calls a large teacher model for n tokens when it needs
help.

    from relay_core import Relay
    result = Relay().generate("…")      # the bundled pair, on a CPU
    result.text, result.segments, result.usage.call_ratio

Importing this package loads neither torch nor transformers nor vllm. Engines load what they need when they start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_core.command import Call, CommandScanner, Malformed, Text
    from relay_core.constraint import Constraint
    from relay_core.decoding.hidden import Hidden
    from relay_core.decoding.triggers import Chance, Commands, Never, Trigger, Uncertain
    from relay_core.engines.base import Chunk, Engine, Finish, Prompt, Sampling, Token
    from relay_core.engines.openai import OpenAIEngine
    from relay_core.engines.scripted import ScriptedEngine
    from relay_core.engines.spec import engine_from_spec
    from relay_core.engines.transformers import TransformersEngine
    from relay_core.engines.vllm import VLLMEngine
    from relay_core.engines.wrapped import Wrapped
    from relay_core.errors import (
        BudgetError,
        ConfigurationError,
        ContextOverflow,
        EngineError,
        GradingError,
        MissingExtraError,
        RelayError,
        TeacherUnavailable,
        TrainingError,
    )
    from relay_core.events import (
        CallEnded,
        CallStarted,
        Event,
        Finished,
        FinishReason,
        RelayResult,
        TextDelta,
    )
    from relay_core.relay import Relay
    from relay_core.settings import Prices, RelaySettings
    from relay_core.transcript import Author, Segment, Transcript
    from relay_core.usage import Usage

__version__ = "0.1.0"

_HOMES = {
    "relay_core.command": ("Call", "CommandScanner", "Malformed", "Text"),
    "relay_core.constraint": ("Constraint",),
    "relay_core.decoding.hidden": ("Hidden",),
    "relay_core.decoding.triggers": ("Chance", "Commands", "Never", "Trigger", "Uncertain"),
    "relay_core.engines.base": ("Chunk", "Engine", "Finish", "Prompt", "Sampling", "Token"),
    "relay_core.engines.openai": ("OpenAIEngine",),
    "relay_core.engines.scripted": ("ScriptedEngine",),
    "relay_core.engines.spec": ("engine_from_spec",),
    "relay_core.engines.transformers": ("TransformersEngine",),
    "relay_core.engines.vllm": ("VLLMEngine",),
    "relay_core.engines.wrapped": ("Wrapped",),
    "relay_core.errors": (
        "BudgetError",
        "ConfigurationError",
        "ContextOverflow",
        "EngineError",
        "GradingError",
        "MissingExtraError",
        "RelayError",
        "TeacherUnavailable",
        "TrainingError",
    ),
    "relay_core.events": (
        "CallEnded",
        "CallStarted",
        "Event",
        "Finished",
        "FinishReason",
        "RelayResult",
        "TextDelta",
    ),
    "relay_core.relay": ("Relay",),
    "relay_core.settings": ("Prices", "RelaySettings"),
    "relay_core.transcript": ("Author", "Segment", "Transcript"),
    "relay_core.usage": ("Usage",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Author",
    "BudgetError",
    "Call",
    "CallEnded",
    "CallStarted",
    "Chance",
    "Chunk",
    "CommandScanner",
    "Commands",
    "ConfigurationError",
    "Constraint",
    "ContextOverflow",
    "Engine",
    "EngineError",
    "Event",
    "Finish",
    "FinishReason",
    "Finished",
    "GradingError",
    "Hidden",
    "Malformed",
    "MissingExtraError",
    "Never",
    "OpenAIEngine",
    "Prices",
    "Prompt",
    "Relay",
    "RelayError",
    "RelayResult",
    "RelaySettings",
    "Sampling",
    "ScriptedEngine",
    "Segment",
    "TeacherUnavailable",
    "Text",
    "TextDelta",
    "Token",
    "TrainingError",
    "Transcript",
    "TransformersEngine",
    "Trigger",
    "Uncertain",
    "Usage",
    "VLLMEngine",
    "Wrapped",
    "__version__",
    "engine_from_spec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'relay_core' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
