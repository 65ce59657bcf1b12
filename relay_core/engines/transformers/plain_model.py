"""A model in the state for transformers' own forward passes, while its manager waits.

The manager runs the model with an attention of its own, over its paged cache. ``reading.py`` and ``assisted.py`` need
the model as transformers made it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay_core.engines.forked import in_child
from relay_core.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class PlainModel:
    """A started engine's model.

    ``end_ids``: the model's end tokens. ``context``: the most tokens of prompt and answer; ``None`` if unknown.
    ``between_steps``: gives a context in which the model's manager makes no step.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    end_ids: frozenset[int]
    context: int | None
    between_steps: Callable[[], AbstractContextManager[object]]


_in_use = threading.Lock()


def _begin_anew() -> None:
    global _in_use
    _in_use = threading.Lock()


in_child(_begin_anew)


@contextmanager
def plain(*models: PreTrainedModel) -> Iterator[None]:
    """In this context, put the models into eval mode, with transformers' own attention ``eager``.

    Enter it between two steps of their managers. Only one thread of the process is in such a context at a time.
    """
    with _in_use, ExitStack() as stack:
        for model in models:
            stack.callback(_restore, model, model.config._attn_implementation, model.training)
            model.eval()
            model.set_attn_implementation("eager")
        yield


def _restore(model: PreTrainedModel, attention: str, is_training: bool) -> None:
    model.set_attn_implementation(attention)
    model.train(is_training)
