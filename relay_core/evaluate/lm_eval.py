"""A relay in EleutherAI's lm-evaluation-harness, as the model ``relay``.

    python -m relay_core.evaluate.lm_eval run --model relay --model_args student=bundled teacher=bundled max_calls=5 \\
        --tasks gsm8k --output_path results

Release 0.4.13 of ``lm_eval`` finds no models of other packages, so this module registers the model, and then is the
command line of ``lm_eval``. Later releases find the model by its entry point (``lm_eval.models``). What each model
wrote is printed, and stored in the file of results under ``config.relay``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from relay_core.errors import MissingExtraError, RelayError
from relay_core.evaluate.harness import HarnessModel, Request
from relay_core.evaluate.harness_arguments import no_likelihood
from relay_core.evaluate.lm_eval_options import overrides

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import model_registry
except ImportError as error:
    raise MissingExtraError("a relay in lm-evaluation-harness", "lm-eval") from error

#: what a task asks of a model, other than text
_LIKELIHOODS = ("loglikelihood", "loglikelihood_rolling", "multiple_choice")


class ChatPrompt(str):
    """A conversation as JSON: ``lm_eval`` passes prompts as text, and each model of a relay has its own template."""

    __slots__ = ()


class RelayLM(LM):  # type: ignore[misc]
    """A relay as a model of ``lm_eval``.

    Args:
        batch_size, max_batch_size, device: not used: ``lm_eval`` passes them to every model. A relay answers
            ``max_concurrency`` requests at a time, and the spec of an engine names its device.
        arguments: as for :class:`~relay_core.evaluate.harness.HarnessModel`.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    def __init__(
        self, batch_size: object = None, max_batch_size: object = None, device: object = None, **arguments: Any
    ) -> None:
        super().__init__()
        self.model = HarnessModel(arguments)

    @property
    def tokenizer_name(self) -> str:
        """The name of both models, by which ``lm_eval`` caches the prompts that :meth:`apply_chat_template` makes."""
        return self.model.name

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> ChatPrompt:
        """The conversation as it is. Each model applies its own template to it."""
        return ChatPrompt(json.dumps(chat_history, ensure_ascii=False))

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answer the requests of generative tasks; a prompt that is no conversation becomes one user message."""
        from tqdm import tqdm

        seen: Counter[int] = Counter()
        asked = []
        for instance in requests:
            context, options = instance.args
            asked.append(self._request(context, options, sample=seen[id(instance)]))
            seen[id(instance)] += 1
        with tqdm(total=len(asked), desc="Running generate_until requests", disable=disable_tqdm) as bar:
            results = self.model.answer_all(asked, on_answer=bar.update)
        print(self.model.summary(), file=sys.stderr)
        texts = [result.text for result in results]
        for instance, text in zip(requests, texts, strict=True):
            self.cache_hook.add_partial("generate_until", instance.args, text)
        return texts

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refused: a relay has no likelihood of a given text."""
        raise no_likelihood({str(instance.task_name) for instance in requests})

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Refused: a relay has no likelihood of a given text."""
        raise no_likelihood({str(instance.task_name) for instance in requests})

    def get_model_info(self) -> dict[str, Any]:
        """What ``lm_eval`` adds to the configuration in its file of results."""
        return {"relay": self.model.report()}

    def _request(self, context: str, options: Mapping[str, Any], sample: int) -> Request:
        changed = overrides(options, self.model.relay.settings)
        if not isinstance(context, ChatPrompt):
            return Request(context, overrides=changed, sample=sample)
        messages = json.loads(context)
        prefix = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
        return Request(messages, prefix=prefix, overrides=changed, sample=sample)


@contextmanager
def _only_generative_tasks() -> Iterator[None]:
    """Refuse tasks that ask for likelihoods before ``lm_eval`` runs the first request of any task."""
    from lm_eval import evaluator

    evaluate = evaluator.evaluate

    def checked(lm: Any, task_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        tasks = task_dict.get("tasks", task_dict)
        if refused := [str(name) for name, task in tasks.items() if getattr(task, "OUTPUT_TYPE", "") in _LIKELIHOODS]:
            raise no_likelihood(refused)
        return evaluate(lm, task_dict, *args, **options)

    evaluator.evaluate = checked
    try:
        yield
    finally:
        evaluator.evaluate = evaluate


def _model_of(options: argparse.Namespace) -> tuple[str | None, Mapping[str, Any]]:
    """The name and the arguments of the model that the command line, or the file of ``--config``, names."""
    from lm_eval.config.evaluate_config import EvaluatorConfig
    from lm_eval.utils import simple_parse_args_string

    file = getattr(options, "config", None)
    written = EvaluatorConfig.load_yaml_config(file) if file else {}
    arguments = getattr(options, "model_args", None) or written.get("model_args") or {}
    if isinstance(arguments, str):
        arguments = simple_parse_args_string(arguments)
    return getattr(options, "model", None) or written.get("model"), arguments


def main() -> None:
    """The command line of ``lm_eval``, which knows the model ``relay``.

    The arguments of a relay are checked before ``lm_eval`` writes them into its log. An error of a relay ends the
    command with its message.
    """
    from lm_eval._cli import HarnessCLI
    from lm_eval.utils import setup_logging

    setup_logging()
    parser = HarnessCLI()
    options = parser.parse_args()
    try:
        model, arguments = _model_of(options)
        if model != "relay":
            parser.execute(options)
            return
        HarnessModel(arguments)
        with _only_generative_tasks():
            parser.execute(options)
    except RelayError as error:
        sys.exit(f"relay: {error}")


if __name__ == "__main__":
    from relay_core.evaluate.lm_eval import main as run  # by its own name, under which its classes are known

    run()
elif "relay" not in model_registry:
    model_registry.register("relay", target=f"{__name__}:RelayLM")
