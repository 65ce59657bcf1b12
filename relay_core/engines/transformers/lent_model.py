"""A loaded model that the user passed in: it is changed for generation while requests run, and restored afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _State(NamedTuple):
    attention: str
    is_training: bool


class LentModel:
    """A model that belongs to the user and that the engine borrows.

    While the model is borrowed, it is in eval mode and has the attention that the manager needs. Otherwise, it has the
    mode and the attention that its owner chose. A repeated :meth:`borrow` or :meth:`hand_back` has no effect.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._owners_state: _State | None = None  # set while the model is borrowed
        self._generation_attention = ""

    @classmethod
    def of(cls, model: PreTrainedModel, tokenizer: object, base: object) -> LentModel:
        """A lent model; raises ConfigurationError if the engine's other arguments do not go with one."""
        if tokenizer is None:
            raise ConfigurationError("a loaded model needs its tokenizer: TransformersEngine(model, tokenizer)")
        if base is not None:
            raise ConfigurationError("base belongs to the folder of an adapter; this model is loaded: leave it out")
        return cls(model)

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Let a manager start with the model in its owner's state, and note the attention that the manager chose."""
        self.hand_back()
        owners_state = self._state
        try:
            yield
            self._generation_attention = self._state.attention
        finally:
            self._set(owners_state)

    def borrow(self) -> None:
        """Put the model into the state that generation needs."""
        if self._owners_state is None:
            self._owners_state = self._state
            self._set(_State(self._generation_attention, is_training=False))

    def hand_back(self) -> None:
        """Put the model back into its owner's state."""
        if self._owners_state is not None:
            self._set(self._owners_state)
            self._owners_state = None

    @property
    def _state(self) -> _State:
        # transformers has a public setter for the attention, but no public getter
        return _State(self.model.config._attn_implementation, self.model.training)

    def _set(self, state: _State) -> None:
        if self.model.training != state.is_training:
            self.model.train(state.is_training)
        if self._state.attention != state.attention:
            self.model.set_attn_implementation(state.attention)
