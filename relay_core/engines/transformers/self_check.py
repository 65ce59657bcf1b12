"""Checks once that the manager's answers agree with the model's own forward pass.

The manager and :mod:`paged_attention` depend on transformers' internals. A release that changes these internals could
make every answer wrong without raising an error. The first model of each class is therefore checked when it starts, in
two cases: we have not tested the installed version of transformers, or the model's layers have windows and our tests do
not run its class. The check generates a few tokens for two requests in one batch and compares them with plain forward
passes of the same model. For the check, windows are shortened, so that both prompts are longer than the window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import transformers

from relay_core.engines.base import Sampling, Token
from relay_core.engines.transformers import attention_setup
from relay_core.engines.transformers.request import Request
from relay_core.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from relay_core.engines.transformers.manager import Manager
    from relay_core.tokenizer import Tokenizer

#: minor versions of transformers on which this package's tests pass (docs/engines.md says how they were run)
TESTED_VERSIONS = ("5.19", "5.20", "5.21", "5.22", "5.23", "5.24")
#: classes with sliding windows that tests/engines/transformers/test_families.py runs
TESTED_WINDOWS = ("Mistral", "Phi3", "Starcoder2", "Qwen2", "Qwen3", "Gemma2", "Gemma3", "Cohere2", "GptOss")
_SHORT_WINDOW = 8
_PROMPT_LENGTHS = (11, 21)  # the longer prompt spans two pages of 16 tokens
_NEW_TOKENS = 4
#: the largest difference in log-probability that rounding explains, by the size of the dtype in bytes
_TOLERANCES = {4: 0.05, 2: 0.5}

_checked: set[tuple[str, str]] = set()


def is_tested(version: str = transformers.__version__) -> bool:
    """Whether this package's tests passed on this version of transformers."""
    return ".".join(version.split(".")[:2]) in TESTED_VERSIONS


def check_once(manager: Manager, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Check a model's class unless our tests cover it; blocks, and must not be called on an event loop.

    Raises:
        EngineError: the answers are wrong.
    """
    name, _ = key = (type(model).__name__, model.config._attn_implementation)
    is_covered = name.removesuffix("ForCausalLM") in TESTED_WINDOWS or not attention_setup.has_windows(model)
    if (is_tested() and is_covered) or key in _checked:
        return
    check(manager, model, tokenizer)
    _checked.add(key)


def check(manager: Manager, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Compare the manager's greedy tokens with the model's own forward passes.

    Args:
        manager: a running manager that serves ``model`` and has no other requests.
        model: the model, with the attention that the manager needs.

    Raises:
        EngineError: a token's log-probability differs by more than rounding explains.
    """
    size = min(model.config.get_text_config().vocab_size, len(tokenizer.hf))
    prompts = [[(5 + 37 * i + length) % size for i in range(length)] for length in _PROMPT_LENGTHS]
    was_training = model.training
    model.eval()
    try:
        with _short_windows(model):
            answers = asyncio.run(_sampled(manager, tokenizer, prompts))
            pairs = zip(prompts, answers, strict=True)
            difference = max(_difference(model, prompt, answer) for prompt, answer in pairs)
    finally:
        model.train(was_training)
    tolerance = _TOLERANCES.get(model.dtype.itemsize, 0.5)
    if not difference <= tolerance:  # this is also true if it is NaN
        raise EngineError(
            f"{type(model).__name__} answers wrongly on transformers {transformers.__version__}: the log-probability "
            f"of a token differs by {difference:.2f} from the model's own forward pass. {_advice()}"
        )


def _advice() -> str:
    elsewhere = "serve the model elsewhere (vllm:, openai:)"
    if is_tested():
        return f"This class of model is not tested: {elsewhere}"
    oldest, newest = TESTED_VERSIONS[0], TESTED_VERSIONS[-1]
    return (
        f"This version is not tested: install one of {oldest} to {newest} (pip install 'transformers=={newest}.*'), or "
        f"{elsewhere}"
    )


@contextmanager
def _short_windows(model: PreTrainedModel) -> Iterator[None]:
    """Shorten the sliding windows of a model's layers within this context, if the cache keeps all keys.

    A plain forward pass reads the window from the config; the paged attention reads it from the layer or the config.
    """
    holders = [vars(model.config.get_text_config()), *(vars(module) for module in model.modules())]
    windows = [(holder, holder["sliding_window"]) for holder in holders if holder.get("sliding_window")]
    if not attention_setup.is_installed(model):  # the layout of other caches depends on the window
        windows = []
    try:
        for holder, window in windows:
            holder["sliding_window"] = min(window, _SHORT_WINDOW)
        yield
    finally:
        for holder, window in windows:
            holder["sliding_window"] = window


async def _sampled(manager: Manager, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]]) -> list[list[Token]]:
    """The greedy tokens of every prompt, all in one batch."""
    loop = asyncio.get_running_loop()

    async def answer(request: Request) -> list[Token]:
        tokens: list[Token] = []
        while True:
            chunk = await request.next_chunk()
            tokens += chunk.tokens
            if chunk.finish is not None:
                return tokens

    sampling = Sampling(_NEW_TOKENS)
    requests = [Request(loop, tokenizer, prompt, sampling, _NEW_TOKENS, frozenset()) for prompt in prompts]
    for request in requests:
        manager.submit(request)
    return await asyncio.gather(*map(answer, requests))


def _difference(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[Token]) -> float:
    """The largest difference between the tokens' log-probabilities and those of plain forward passes."""
    new_ids = [token.id for token in answer if token.id is not None]
    ids = torch.tensor([[*prompt, *new_ids[:-1]]], device=model.device)
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the formula itself; sdpa leaves out soft-capping
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :].float()
    finally:
        model.set_attn_implementation(attention)
    expected = logits.log_softmax(-1)
    best = expected.max(-1).values
    worst = 0.0
    for row, token in enumerate(answer):
        own = float(expected[row, token.id])
        reported = own if token.logprob is None else token.logprob
        worst = max(worst, abs(reported - own), float(best[row]) - own)
    return worst
