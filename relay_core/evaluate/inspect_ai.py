"""A relay in the UK AI Security Institute's Inspect (``inspect_ai``), as the models ``relay/STUDENT``.

    inspect eval task.py --model relay/bundled -M teacher=bundled -M max_calls=5

Inspect finds this module by its entry point. What was written and billed is stored with every output, under
``output.metadata["relay"]``, and Inspect prices the student's and the teacher's part apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relay_core.adapters.cut_answers import cut_by
from relay_core.adapters.identity import relay_specs
from relay_core.errors import ConfigurationError, MissingExtraError
from relay_core.evaluate.harness import MAX_CONCURRENCY, HarnessModel, Request
from relay_core.evaluate.harness_arguments import refuse_secrets
from relay_core.evaluate.inspect_messages import answer_message, messages_of, offer_of
from relay_core.evaluate.inspect_usage import both_usage, cost_of, student_usage, teacher_usage
from relay_core.events import FinishReason, RelayResult
from relay_core.settings import RelaySettings
from relay_core.usage import Usage

try:
    from inspect_ai.model import (
        ChatCompletionChoice,
        GenerateConfig,
        ModelAPI,
        ModelOutput,
        modelapi,
    )
except ImportError as error:
    raise MissingExtraError("a relay in Inspect", "inspect-ai") from error

_SAME = ("max_tokens", "temperature", "top_p", "top_k", "seed")  # options that have the name of our setting
#: options that change an answer, and that a relay does not have
_REFUSED = (
    "best_of", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "prompt_logprobs",
    "response_schema",
)  # fmt: skip


class RelayAPI(ModelAPI):  # type: ignore[misc]
    """A relay as a model of Inspect.

    Args:
        model_name: the spec of the student, the part after ``relay/``.
        base_url, api_key: refused: a spec has the address of its endpoint, and keys are read from the environment.
        config: Inspect's options; :meth:`generate` gets them, too.
        arguments: as for :class:`~relay_core.evaluate.harness.HarnessModel`, without ``student`` and
            ``max_concurrency`` (Inspect's ``--max-connections`` is what limits it).

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - as the class that this one implements
        **arguments: Any,
    ) -> None:
        if api_key is not None:
            refuse_secrets(["api_key"])
        if base_url is not None:
            raise ConfigurationError("a relay has no base URL: write relay/openai:MODEL@BASE_URL and teacher=…")
        for name in ("student", "max_concurrency"):
            if name in arguments:
                raise ConfigurationError(f"{name}: write relay/STUDENT, and --max-connections for the concurrency")
        super().__init__(model_name, None, None, [], config)
        self.model = HarnessModel({"student": model_name, **arguments})

    async def generate(
        self, input: Sequence[Any], tools: Sequence[Any], tool_choice: Any, config: GenerateConfig
    ) -> ModelOutput:
        """Answer a conversation, ``config.num_choices`` times.

        Raises:
            ConfigurationError: a message, a tool or an option cannot be used.
            EngineError: a model failed.
        """
        settings = self.model.relay.settings.merged(_overrides(config))
        offered = offer_of(tools, tool_choice)
        messages = messages_of(input)
        results = [
            await self.model.answer(
                Request(messages, offered.prefix, _overrides(config), sample),
                tools=offered.tools or None,
                constraint=offered.constraint,
            )
            for sample in range(config.num_choices or 1)
        ]
        choices = []
        for result in results:
            message = answer_message(result, offered, model=self.model_name)
            reason = "tool_calls" if message.tool_calls else stop_reason(result, settings)
            choices.append(ChatCompletionChoice(message=message, stop_reason=reason))
        usage = Usage.total(result.usage for result in results)
        return ModelOutput(
            model=self.model_name,
            choices=choices,
            usage=both_usage(usage),
            input_context_tokens=usage.prompt_tokens // len(results),
            time=sum(result.seconds for result in results),
            metadata={"relay": _report(self.model, usage, results)},
        )

    def served_model_usage(self, output: ModelOutput) -> list[Any] | None:
        """The usage of the student and of the teacher, each with its prices if the settings have them."""
        from inspect_ai.model._model_output import ServedModelUsage

        report = (output.metadata or {}).get("relay")
        if report is None:
            return None
        usage = Usage(**{name: count for name, count in report["usage"].items() if name != "call_ratio"})
        prices = self.model.relay.settings.prices
        parts = [ServedModelUsage(report["student"], student_usage(usage), cost_of("student", prices))]
        if report["teacher"] is not None:
            parts.append(ServedModelUsage(report["teacher"], teacher_usage(usage), cost_of("teacher", prices)))
        return parts

    def connection_key(self) -> str:
        """Each pair of models has a limit of connections of its own."""
        return self.model.name

    def max_connections(self) -> int:
        """How many answers run at a time, unless ``--max-connections`` says otherwise."""
        return MAX_CONCURRENCY

    async def aclose(self) -> None:
        """Close the engines."""
        await self.model.relay.aclose()


@modelapi(name="relay")  # type: ignore[untyped-decorator]
def relay() -> type[RelayAPI]:
    """The class behind ``relay/…``."""
    return RelayAPI


def stop_reason(result: RelayResult, settings: RelaySettings) -> str:
    """Inspect's name for why an answer ended."""
    if result.finish_reason is FinishReason.DEADLINE:
        return "unknown"
    if result.finish_reason is FinishReason.LENGTH:
        full = "context" in (cut_by(result, settings) or "")
        return "model_length" if full else "max_tokens"
    return "stop"


def _report(model: HarnessModel, usage: Usage, results: Sequence[RelayResult]) -> dict[str, Any]:
    prices = model.relay.settings.prices
    return {
        **relay_specs(model.relay),
        "finish_reasons": [str(result.finish_reason) for result in results],
        "failures": [failure for result in results for failure in result.failures],
        "usage": usage.as_dict(),
        "cost": None if prices is None else usage.cost(prices),
    }


def _overrides(config: Any) -> Mapping[str, Any]:
    for name in _REFUSED:
        if getattr(config, name, None) not in (None, False):
            raise ConfigurationError(f"a relay has no option {name!r}: leave it out")
    found = {name: getattr(config, name) for name in _SAME if getattr(config, name) is not None}
    if config.stop_seqs:
        found["stop"] = tuple(config.stop_seqs)
    return found
