"""A relay in Hugging Face's lighteval, as a custom model.

    export RELAY_MODEL_ARGS="student=bundled,teacher=bundled,max_calls=5"
    lighteval custom relay "$(python -m relay_core.evaluate.lighteval)" gsm8k

``lighteval custom`` takes the name of a model and this file, but no arguments of the model. They are read from the
variable ``RELAY_MODEL_ARGS``, as ``NAME=VALUE,NAME=VALUE`` or as a JSON object. Run as a program, the module prints its
own path. What each model wrote is printed, and stored in the file of results under
``config_general.model_config.relay``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import create_model

from relay_core.errors import ConfigurationError, MissingExtraError
from relay_core.evaluate.harness import HarnessModel, Request
from relay_core.evaluate.harness_arguments import no_likelihood, parse_arguments
from relay_core.events import RelayResult

try:
    from lighteval.models.abstract_model import LightevalModel
    from lighteval.models.custom.custom_model import CustomModelConfig
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.prompt_manager import PromptManager
except ImportError as error:
    raise MissingExtraError("a relay in lighteval", "lighteval") from error

VARIABLE = "RELAY_MODEL_ARGS"
#: options of lighteval's ``generation_parameters`` (Python only), and the names of our settings
_PARAMETERS = {
    "max_new_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "seed": "seed",
    "stop_tokens": "stop",
}  # fmt: skip


#: what lighteval stores about the model: its own configuration, and the report of the relay. It is no class statement,
#: since pydantic would look up its annotations in a module that lighteval does not put into sys.modules
RelayConfig = create_model("RelayConfig", __base__=CustomModelConfig, relay=(dict[str, Any], {}))


class RelayModel(LightevalModel):  # type: ignore[misc]
    """A relay as a custom model of lighteval, with the arguments in ``RELAY_MODEL_ARGS``.

    Args:
        config: lighteval's configuration of a custom model. Its ``generation_parameters`` take precedence over the
            variable, and both over the token limit of a task.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    def __init__(self, config: CustomModelConfig) -> None:
        arguments = parse_arguments(os.environ.get(VARIABLE, ""))
        given = config.generation_parameters.model_dump(exclude_unset=True, exclude_none=True)
        for name, value in given.items():
            if name not in _PARAMETERS:
                raise ConfigurationError(f"a relay has no generation parameter {name!r}: leave it out")
            arguments[_PARAMETERS[name]] = value
        self.model = HarnessModel(arguments)
        self._limited = "max_tokens" in arguments
        self._prompts = PromptManager(use_chat_template=True, system_prompt=config.system_prompt)
        self.config = RelayConfig(**{**dict(config), "relay": self.model.report()})
        self._cache = _TaskCheck()

    @property
    def tokenizer(self) -> Any:
        """None: each model applies its own template to the messages."""
        return None

    @property
    def add_special_tokens(self) -> bool:
        """False: the templates add them."""
        return False

    @property
    def max_length(self) -> int | None:
        """The smaller context of both models, in tokens; ``None`` if it is not known."""
        return self.model.relay.context_length

    def greedy_until(self, docs: Sequence[Any]) -> list[ModelResponse]:
        """Answer the documents of generative tasks, each ``doc.num_samples`` times.

        Raises:
            ConfigurationError: several samples are asked for, and the answers are greedy.
        """
        requests = [self._request(doc, sample) for doc in docs for sample in range(doc.num_samples)]
        results = iter(self.model.answer_all(requests))
        responses = []
        for doc in docs:
            own = [next(results) for _ in range(doc.num_samples)]
            responses.append(
                ModelResponse(
                    input=self._prompts.prepare_prompt_api(doc),
                    text=[result.text for result in own],
                    output_tokens=[_ids(result) for result in own],
                )
            )
        return responses

    def _request(self, doc: Any, sample: int) -> Request:
        settings = self.model.relay.settings
        if doc.num_samples > 1 and settings.temperature == 0:
            raise ConfigurationError(
                f"{doc.task_name} asks for {doc.num_samples} answers to a problem, which are equal at temperature 0: "
                f"set temperature in {VARIABLE}"
            )
        overrides: dict[str, Any] = {"stop": (*settings.stop, *(s for s in doc.stop_sequences or () if s))}
        if doc.generation_size is not None and not self._limited:
            overrides["max_tokens"] = doc.generation_size
        return Request(self._prompts.prepare_prompt_api(doc), overrides=overrides, sample=sample)

    def loglikelihood(self, docs: Sequence[Any]) -> list[ModelResponse]:
        """Refused: a relay has no likelihood of a given text."""
        raise no_likelihood({doc.task_name for doc in docs})

    def loglikelihood_rolling(self, docs: Sequence[Any]) -> list[ModelResponse]:
        """Refused: a relay has no likelihood of a given text."""
        raise no_likelihood({doc.task_name for doc in docs})

    def cleanup(self) -> None:
        """Print and store what each model wrote; lighteval calls it after the last request."""
        self.config.relay = self.model.report()
        print(self.model.summary(), file=sys.stderr)
        self.model.relay.close()


class _TaskCheck:
    """In the place of lighteval's cache of answers, which does not know ``RELAY_MODEL_ARGS``.

    A pipeline shows the tasks to the cache of a model, before its first request.
    """

    def _init_registry(self, registry: Any) -> None:
        refused = [
            config.full_name
            for configs in registry.task_to_configs.values()
            for config in configs
            if any(metric.category.name != "GENERATIVE" for metric in config.metrics)
        ]
        if refused:
            raise no_likelihood(refused)


def _ids(result: RelayResult) -> list[int]:
    """The ids of all tokens of an answer, commands included; each is in the vocabulary of the model that wrote it."""
    return [token_id for segment in result.segments for token_id in segment.token_ids]


if __name__ == "__main__":
    print(__file__)
