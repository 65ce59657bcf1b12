"""A relay as the model of somebody else's evaluation harness: built from the harness's arguments, and with its tokens
counted.

``lm_eval.py``, ``inspect_ai.py`` and ``lighteval.py`` are adapters over :class:`HarnessModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from relay_core import portal
from relay_core.adapters.identity import relay_name, relay_specs
from relay_core.concurrency import map_concurrently
from relay_core.errors import ConfigurationError
from relay_core.evaluate.harness_arguments import SETTINGS, check_arguments, json_object
from relay_core.events import RelayResult
from relay_core.relay import PromptLike, Relay
from relay_core.settings import RelaySettings
from relay_core.usage import Usage

MAX_CONCURRENCY = 64  # answers at a time, as in measure()


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a harness.

    ``prefix``: text with which the answer must begin. ``overrides``: the settings that the harness sets for this
    request. ``sample``: the number of this answer among those to the same request, from 0. If the settings have a seed,
    it is added to the seed, since the answers would be equal otherwise.
    """

    prompt: PromptLike
    prefix: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0


class HarnessModel:
    """A relay, and the sum of what both models wrote for a harness.

    Args:
        arguments: ``student`` and ``teacher`` (specs or engines; by default the bundled pair; a teacher of ``None`` or
            ``"none"`` means no teacher), ``max_concurrency``, and the fields of
            :class:`~relay_core.settings.RelaySettings`. Harnesses pass texts for values that their command lines cannot
            write: ``prices`` may be JSON.

    Raises:
        ConfigurationError: an argument is unknown or has a wrong value, or is a key. A harness writes the arguments of
            a model into its logs and results, so keys are read from the environment only.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        check_arguments(arguments)
        values = {"student": "bundled", "teacher": "bundled", "max_concurrency": MAX_CONCURRENCY, **arguments}
        student, teacher, self.max_concurrency = (values.pop(n) for n in ("student", "teacher", "max_concurrency"))
        if self.max_concurrency is not None and (type(self.max_concurrency) is not int or self.max_concurrency < 1):
            raise ConfigurationError(f"max_concurrency is {self.max_concurrency!r}: write a whole number, 1 or more")
        if isinstance(teacher, str) and teacher.lower() == "none":
            teacher = None
        if isinstance(values.get("prices"), str):
            values["prices"] = json_object(values["prices"], "prices")
        self.relay = Relay(student, teacher, RelaySettings(**values))
        self.answers = 0
        self._usage: Usage | None = None

    @property
    def name(self) -> str:
        """The name of the relay, composed of the specs of both engines."""
        specs = relay_specs(self.relay)
        return relay_name(str(specs["student"]), specs["teacher"])

    @property
    def usage(self) -> Usage:
        """The usage of all answers so far."""
        return Usage() if self._usage is None else self._usage

    async def answer(self, request: Request, **options: Any) -> RelayResult:
        """Answer one request, and count its tokens.

        Args:
            options: further arguments of :meth:`Relay.astream`, such as ``tools``.
        """
        settings = self.relay.settings.merged(request.overrides)
        if settings.seed is not None and request.sample:
            settings = settings.merged({"seed": settings.seed + request.sample})
        result = await self.relay.agenerate(request.prompt, prefix=request.prefix, settings=settings, **options)
        self.answers += 1
        self._usage = result.usage if self._usage is None else self._usage + result.usage
        return result

    def answer_all(
        self, requests: Sequence[Request], on_answer: Callable[[], object] | None = None
    ) -> list[RelayResult]:
        """Answer many requests, and wait for all answers; returns them in the order of the requests.

        Args:
            on_answer: called after each answer, to show progress.
        """

        async def answer(request: Request) -> RelayResult:
            result = await self.answer(request)
            if on_answer is not None:
                on_answer()
            return result

        return portal.run(lambda: map_concurrently(answer, requests, limit=self.max_concurrency))

    def report(self) -> dict[str, Any]:
        """The models, the settings, and what was written and billed so far, as JSON values for a file of results."""
        settings = self.relay.settings
        return {
            **relay_specs(self.relay),
            "settings": {name: _plain(getattr(settings, name)) for name in SETTINGS},
            "answers": self.answers,
            "usage": self.usage.as_dict(),
            "cost": None if settings.prices is None else self.usage.cost(settings.prices),
        }

    def summary(self) -> str:
        """What each model wrote, as one line."""
        usage = self.usage
        return (
            f"relay: {self.answers} answers; tokens written: student {usage.student_tokens}, commands "
            f"{usage.command_tokens}, teacher {usage.teacher_tokens} (call ratio {usage.call_ratio:.1%}); "
            f"{usage.calls} calls"
        )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, tuple):
        return list(value)
    return {f.name: getattr(value, f.name) for f in fields(value)} if type(value).__name__ == "Prices" else str(value)
