"""The tokens that an endpoint reports to have used, as far as its reports can be true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay_core.engines.base import EngineUsage


@dataclass(slots=True)
class UsageReports:
    """The usage that one response reports, over all its events; what cannot be true is not believed.

    ``total``: the latest value of each count, and the largest one of the tokens written. ``reasoning_tokens``: how many
    of these were reasoning.
    """

    total: EngineUsage | None = None
    reasoning_tokens: int = 0

    def add(self, report: Any) -> None:
        """Read one event's report, if it has any."""
        if not isinstance(report, Mapping):
            return
        prompt_details, details = report.get("prompt_tokens_details"), report.get("completion_tokens_details")
        cached = prompt_details.get("cached_tokens") if isinstance(prompt_details, Mapping) else None
        usage = EngineUsage(report.get("prompt_tokens"), cached, report.get("completion_tokens")).believable()
        before = self.total or EngineUsage()
        self.total = EngineUsage(
            before.prompt_tokens if usage.prompt_tokens is None else usage.prompt_tokens,
            before.cached_tokens if usage.cached_tokens is None else usage.cached_tokens,
            max((n for n in (before.completion_tokens, usage.completion_tokens) if n is not None), default=None),
        ).believable()
        reasoning = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
        reasoning = EngineUsage(completion_tokens=reasoning).believable().completion_tokens or 0
        self.reasoning_tokens = max(self.reasoning_tokens, min(reasoning, self.total.completion_tokens or 0))
