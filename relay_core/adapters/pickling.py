"""Pickles of ``ChatRelay`` and ``RelayLLM``, without their keys. The relay and its engines pickle themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from relay_core.keys import KEY_ARGUMENTS


class PickledWithoutKeys(BaseModel):
    """A model whose pickles do not contain its API keys; when it is unpickled, it reads the keys from the
    environment."""

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return {**state, "__dict__": {name: v for name, v in state["__dict__"].items() if name not in KEY_ARGUMENTS}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        fields = type(self).model_fields
        names = [name for name in KEY_ARGUMENTS if name in fields]
        keys = {name: fields[name].get_default(call_default_factory=True) for name in names}
        super().__setstate__({**state, "__dict__": {**state["__dict__"], **keys}})
