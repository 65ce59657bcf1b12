"""A known answer, checked once: does the manager say what the model's own forward pass says?

The manager and :mod:`paged_attention` stand on transformers' internals. A release that changes them could make every
answer wrong without an error. So on a version of transformers that we have not tested, the first model of each class
is checked when it starts: a few tokens of two requests in one batch, against plain forward passes of the same model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import transformers

from relay_core.engines.base import Sampling, Token
from relay_core.engines.transformers import paged_attention
from relay_core.engines.transformers.request import Request
from relay_core.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from relay_core.engines.transformers.manager import Manager
    from relay_core.tokenizer import Tokenizer

#: minor versions of transformers on which this package's tests pass (docs/engines.md says how they were run)
TESTED_VERSIONS = ("5.19", "5.20", "5.21", "5.22", "5.23", "5.24")
_PROMPT_LENGTHS = (11, 21)  # the longer one spans two pages of 16 tokens
_NEW_TOKENS = 4
#: the largest difference in log-probability that rounding explains, by the size of the dtype in bytes
_TOLERANCES = {4: 0.05, 2: 0.5}

_checked: set[tuple[str, str]] = set()


def is_tested(version: str = transformers.__version__) -> bool:
    """Whether this package's tests passed on this version of transformers."""
    return ".".join(version.split(".")[:2]) in TESTED_VERSIONS


def check_once(manager: Manager, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Check a model's class if the version of transformers is not a tested one; blocking, outside any event loop.

    Raises:
        EngineError: the answers are wrong.
    """
    key = (type(model).__name__, model.config._attn_implementation)
    if is_tested() or key in _checked:
        return
    check(manager, model, tokenizer)
    _checked.add(key)


def check(manager: Manager, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Compare the manager's greedy tokens with the model's own forward passes.

    Args:
        manager: a running manager that serves ``model``, without other requests.
        model: the model, with the attention that the manager needs.

    Raises:
        EngineError: a token's log-probability differs by more than rounding explains.
    """
    size = min(model.config.get_text_config().vocab_size, len(tokenizer.hf))
    prompts = [[(5 + 37 * i + length) % size for i in range(length)] for length in _PROMPT_LENGTHS]
    was_training = model.training
    model.eval()
    try:
        answers = asyncio.run(_sampled(manager, tokenizer, prompts))
        difference = max(_difference(model, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True))
    finally:
        model.train(was_training)
    tolerance = _TOLERANCES.get(model.dtype.itemsize, 0.5)
    if not difference <= tolerance:  # also where it is NaN
        raise EngineError(
            f"{type(model).__name__} answers wrongly on transformers {transformers.__version__}: the log-probability "
            f"of a token differs by {difference:.2f} from the model's own forward pass. This version is not tested: "
            f"install one of {TESTED_VERSIONS[0]} to {TESTED_VERSIONS[-1]} (pip install 'transformers=="
            f"{TESTED_VERSIONS[-1]}.*'), or serve the model elsewhere (vllm:, openai:)"
        )


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
    paged_attention.uninstall(model)
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :].float()
    finally:
        if model.config._attn_implementation != attention:
            model.set_attn_implementation(attention)
    expected = logits.log_softmax(-1)
    best = expected.max(-1).values
    worst = 0.0
    for row, token in enumerate(answer):
        own = float(expected[row, token.id])
        reported = own if token.logprob is None else token.logprob
        worst = max(worst, abs(reported - own), float(best[row]) - own)
    return worst
