"""A tokenizer and models of the bundled kind, small enough to be made in a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The bundled tokenizer's kind, trained on a few problems."""
    from relay_core.bundled import task
    from relay_core.bundled import tokenizer as bundled_tokenizer

    texts = [m["content"] for p in task.problems(60) for m in p.messages] + [p.solution for p in task.problems(60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled_tokenizer, "corpus", lambda seed: [*texts, "system\nuser\nassistant\n", "<call>4</call>"])
        return bundled_tokenizer.train(0)


@pytest.fixture(scope="session")
def new_model(tokenizer: Any) -> Callable[..., Any]:
    """A tiny random Qwen3 with that tokenizer's vocabulary."""

    def make(seed: int = 0, hidden: int = 16) -> Any:
        import dataclasses

        from relay_core.bundled import pretrain

        recipe = dataclasses.replace(
            pretrain.RECIPES["student-base"], hidden=hidden, layers=1, heads=2, kv_heads=1, intermediate=32, head_dim=8
        )
        return pretrain.new_model(recipe, tokenizer, seed)

    return make


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, new_model: Any) -> Path:
    """A folder with such a model."""
    from relay_core.train import models

    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.save(new_model(), tokenizer, folder)
    return folder
