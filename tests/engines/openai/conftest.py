"""Fixtures that several test modules of this folder use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from relay_core.engines.base import Prompt
from relay_core.tokenizer import Tokenizer

Failing = Callable[..., tuple[Callable[[], Awaitable[str]], list[float]]]


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> Tokenizer:
    """The tiny model's tokenizer."""
    return Tokenizer.load(tiny_model)


@pytest.fixture
def prompt(tokenizer: Tokenizer) -> Prompt:
    """One question, in every form that a mode takes."""
    text = "<|im_start|>user\nAdd 2 and 3.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    return Prompt(text, tokenizer.encode(text), [{"role": "user", "content": "Add 2 and 3."}])


@pytest.fixture
def failing() -> Failing:
    """Builds an attempt that has the given outcomes in order, and the list of times at which it was made."""

    def build(*outcomes: BaseException | str) -> tuple[Callable[[], Awaitable[str]], list[float]]:
        left, times = list(outcomes), list[float]()

        async def attempt() -> str:
            times.append(asyncio.get_running_loop().time())
            outcome = left.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return attempt, times

    return build
