"""Speculative decoding: a model writes with a smaller one as its draft, by transformers' assisted generation.

The draft writes a few tokens, and the model reads them in one forward pass and keeps those that it would have written
itself (https://arxiv.org/abs/2211.17192), so that greedy answers are the model's own, and sampled ones have its
distribution. If the vocabularies differ, transformers translates between them (https://arxiv.org/abs/2502.05202).

Hooks on both models' forward passes count what they read and write.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.candidate_generator import AssistantVocabTranslatorCache

from relay_core.engines.request_check import GREEDY_BELOW
from relay_core.engines.sampling import Sampling
from relay_core.engines.transformers.plain_model import PlainModel, plain
from relay_core.engines.transformers.sampler import MAX_TEMPERATURE
from relay_core.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: when the draft stops before its number of tokens: the defaults of transformers, whatever the models' own configs say
DRAFT = {"num_assistant_tokens_schedule": "constant", "assistant_confidence_threshold": 0.4}


@dataclass(frozen=True, slots=True)
class Assisted:
    """An answer, and what it took.

    ``ids``: the tokens that the model wrote, its end token included. ``verified``: the places at which the model said
    what comes next, used or not. ``draft_prompt``: the tokens of the prompt, in the draft's vocabulary. ``drafted``:
    the tokens that the draft wrote.
    """

    ids: list[int]
    verified: int
    draft_prompt: int
    drafted: int


class _Reads:
    """The lengths of a model's forward passes, in tokens."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def note(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.lengths.append(int((args[0] if args else kwargs["input_ids"]).shape[-1]))


class _Stops(StoppingCriteria):  # type: ignore[misc]
    """Ends the answer after a pass of the model; ``is_over`` gets all ids of the answer so far."""

    def __init__(self, prompt_length: int, is_over: Callable[[Sequence[int]], bool]) -> None:
        self._prompt_length, self._is_over = prompt_length, is_over

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        is_over = self._is_over(input_ids[0, self._prompt_length :].tolist())
        return torch.full((1,), is_over, dtype=torch.bool, device=input_ids.device)


class Pair:
    """A model and its draft.

    Args:
        model, draft: both models.
        ahead: how many tokens the draft writes before the model reads them, at most.

    Raises:
        ConfigurationError: the two are the same model, or transformers cannot translate between their vocabularies.
    """

    def __init__(self, model: PlainModel, draft: PlainModel, *, ahead: int) -> None:
        if model.model is draft.model:
            raise ConfigurationError("a model cannot be its own draft: write another student (base=SPEC)")
        self._model, self._draft, self._ahead = model, draft, ahead
        sizes = [m.model.config.get_text_config().vocab_size for m in (model, draft)]
        self._is_shared = sizes[0] == sizes[1]
        if self._is_shared and not model.tokenizer.shares_vocabulary(draft.tokenizer):
            raise ConfigurationError(
                f"the two vocabularies differ and both have {sizes[0]} entries, which transformers takes for one: "
                "write another student or teacher"
            )
        self._pruned: tuple[PreTrainedModel, Any] | None = None
        self.end_ids = model.end_ids
        #: the most tokens of prompt and answer
        self.context = min((m.context for m in (model, draft) if m.context is not None), default=None)

    def is_of(self, model: PlainModel, draft: PlainModel) -> bool:
        """Whether the pair has these models, which an engine loads again if it was closed."""
        return self._model.model is model.model and self._draft.model is draft.model

    def write(
        self, prompt_ids: Sequence[int], sampling: Sampling, is_over: Callable[[Sequence[int]], bool]
    ) -> Assisted:
        """Answer a prompt; blocks, while both models' managers wait.

        Args:
            prompt_ids: the prompt in the model's vocabulary.
            sampling: ``max_tokens``, ``temperature``, ``top_p``, ``top_k`` and ``seed``.
            is_over: whether the answer ends with these ids of it; asked after each pass of the model.

        Raises:
            EngineError: transformers failed.
        """
        draft, reads, draft_reads = self._draft.model, _Reads(), _Reads()
        config = _config(sampling, self._model.end_ids)
        prompt = torch.tensor([list(prompt_ids)], device=self._model.model.device)
        with ExitStack() as stack:
            for own in (self._model, self._draft):
                stack.enter_context(own.between_steps())
            stack.enter_context(plain(self._model.model, draft))
            options: dict[str, Any] = {}
            if not self._is_shared:
                draft, tokenizer = self._foreign_draft(is_sampled=config.do_sample)
                options = {"tokenizer": self._model.tokenizer.hf, "assistant_tokenizer": tokenizer}
            for model, counts in ((self._model.model, reads), (draft, draft_reads)):
                stack.enter_context(_configured(model, self._ahead))
                stack.callback(model.register_forward_pre_hook(counts.note, with_kwargs=True).remove)
            stack.enter_context(_quiet())
            stack.enter_context(_seeded(sampling.seed if config.do_sample else None, prompt.device))
            try:
                out = self._model.model.generate(
                    prompt, attention_mask=torch.ones_like(prompt), generation_config=config, assistant_model=draft,
                    stopping_criteria=StoppingCriteriaList([_Stops(len(prompt_ids), is_over)]), **options,
                )  # fmt: skip
            except Exception as error:  # one of many of transformers' own
                raise EngineError(f"assisted generation failed: {type(error).__name__}: {error}") from error
        verified = sum(reads.lengths) - len(prompt_ids) + 1
        written = [int(i) for i in out[0, len(prompt_ids) :]]
        return Assisted(
            written, verified, draft_reads.lengths[0] if draft_reads.lengths else 0, len(draft_reads.lengths)
        )

    def _foreign_draft(self, *, is_sampled: bool) -> tuple[PreTrainedModel, Any]:
        """The draft and its tokenizer for a model with another vocabulary.

        To sample, transformers cuts the draft's embeddings down to the common tokens, for good. It gets a copy, and a
        copy of the tokenizer, by which it remembers that it did. It is made to do so here, because new layers draw
        random numbers, which would be missing from the answer's.
        """
        if not is_sampled:
            return self._draft.model, self._draft.tokenizer.hf
        if self._pruned is None:
            copied = copy.deepcopy(self._draft.model), copy.deepcopy(self._draft.tokenizer.hf)
            size = self._model.model.config.get_text_config().vocab_size
            AssistantVocabTranslatorCache.get_translator(
                self._model.tokenizer.hf, copied[1], size, assistant_model=copied[0], assistant_prune_lm_head=True
            )
            self._pruned = copied
        return self._pruned


def _config(sampling: Sampling, end_ids: frozenset[int]) -> GenerationConfig:
    chosen: dict[str, Any] = {"do_sample": False}
    if sampling.temperature >= GREEDY_BELOW:
        temperature = min(sampling.temperature, MAX_TEMPERATURE)
        chosen = {"do_sample": True, "temperature": temperature, "top_k": sampling.top_k or 0, "top_p": sampling.top_p}
    ends = sorted(end_ids) or None
    return GenerationConfig(
        max_new_tokens=sampling.max_tokens, eos_token_id=ends, pad_token_id=ends[0] if ends else 0, **chosen
    )


@contextmanager
def _configured(model: PreTrainedModel, ahead: int) -> Iterator[None]:
    """In this context, the model's own sampling settings, such as a repetition penalty, are not applied."""
    own = model.generation_config
    model.generation_config = GenerationConfig(num_assistant_tokens=ahead, **DRAFT)
    try:
        yield
    finally:
        model.generation_config = own


@contextmanager
def _quiet() -> Iterator[None]:
    """In this context, transformers does not warn of the way in which it calls the draft itself."""
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Draw from a seed; torch's global random state belongs to the user and is restored. Without one, nothing is
    done."""
    with nullcontext() if seed is None else torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield
