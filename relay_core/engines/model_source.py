"""Where a model in this process gets its weights and its tokenizer: from a whole model, or an adapter and its base.

The tokenizer and the chat template are those of the adapter's folder if it has them, otherwise those of the base.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relay_core import hub
from relay_core.engines import adapter_folder, model_folder
from relay_core.errors import ConfigurationError, EngineError
from relay_core.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = ("auto", "float32", "bfloat16", "float16")
_ADAPTER_FILES = (adapter_folder.CONFIG, adapter_folder.WEIGHTS, *model_folder.TOKENIZER_FILES, "*.jinja", "*.json")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model to load.

    Args:
        weights: the folder or hub id of the whole model; for an adapter, of its base.
        adapter: the folder of the adapter that is merged into these weights.
        base: the base as the user named it. A hub id may turn out to be an adapter's when it is loaded.
    """

    weights: str
    adapter: Path | None = None
    base: str | None = None

    @classmethod
    def of(cls, source: str, base: str | Path | None = None, *, tokenizer: bool = True) -> ModelSource:
        """Find out what ``source`` is, without loading anything or asking the hub.

        Args:
            source: a folder or a hub id, of a whole model or of an adapter.
            base: the folder or hub id of an adapter's base.
            tokenizer: whether a tokenizer is needed.

        Raises:
            ConfigurationError: the source is not usable, or ``base`` is given for a whole model.
        """
        base = None if base is None else str(base)
        folder = model_folder.check_source(source, tokenizer=tokenizer, adapters=True)
        if folder is None:
            return cls(source, base=base)
        if not adapter_folder.is_adapter(folder):
            if base is not None:
                raise ConfigurationError(f"{source} is a whole model, and base is {base}: only an adapter has a base")
            return cls(str(folder))
        weights = adapter_folder.base_of(folder, base)
        here = Path(weights).expanduser()
        if tokenizer and here.is_dir() and not model_folder.has_tokenizer(folder):
            model_folder.check_folder(here)
        return cls(weights, folder, base)

    @property
    def folder(self) -> Path | None:
        """The folder of the weights; ``None`` if they are on the hub."""
        path = Path(self.weights).expanduser()
        return path if path.is_dir() else None

    def absolute(self) -> tuple[str, str | None]:
        """What :meth:`of` takes in a process whose working directory is another one: ``source`` and ``base``."""
        source, base = str(self.adapter or self.weights), self.base
        return model_folder.absolute(source), None if base is None else model_folder.absolute(base)

    @property
    def context(self) -> int | None:
        """The context length in tokens; ``None`` while it is unknown."""
        return None if self.folder is None else model_folder.context_in(model_folder.read_config(self.folder))

    def describe(self) -> dict[str, str]:
        """The adapter and its base, for a description of the engine; nothing for a whole model."""
        return {} if self.adapter is None else {"adapter": str(self.adapter), "base": self.weights}

    def deciding(self, dtype: str = "auto") -> tuple[tuple[str, str], ...]:
        """The options that decide the answers (:attr:`Engine.deciding`): an adapter's base, and the precision."""
        base = () if self.adapter is None else (("base", self.weights),)
        return (*base, *(() if dtype == "auto" else (("dtype", dtype),)))

    def load(self, *, dtype: str = "auto", device: str | None = None) -> PreTrainedModel:
        """The model, with the adapter merged; raises what :func:`model_folder.load_model` and
        :func:`adapter_folder.merged` raise."""
        source = self._found_on_hub()
        with source._naming_the_adapter():
            model = model_folder.load_model(source.weights, dtype=dtype, device=device)
        return model if source.adapter is None else adapter_folder.merged(model, source.adapter)

    def load_tokenizer(self) -> Tokenizer:
        """The tokenizer; raises what :meth:`Tokenizer.load` raises."""
        source = self._found_on_hub()
        if source.adapter is None:
            return model_folder.load_tokenizer(source.weights)
        if not model_folder.has_tokenizer(source.adapter):
            with source._naming_the_adapter():
                tokenizer = model_folder.load_tokenizer(source.weights)
            template = source.adapter / "chat_template.jinja"
            if template.is_file():
                tokenizer.hf.chat_template = template.read_text(encoding="utf-8")
            return tokenizer
        tokenizer = model_folder.load_tokenizer(str(source.adapter))
        if not tokenizer.hf.chat_template:
            with source._naming_the_adapter():
                tokenizer.hf.chat_template = model_folder.load_tokenizer(source.weights).hf.chat_template
        return tokenizer

    @contextmanager
    def whole_folder(self, tokenizer: Tokenizer, dtype: str = "auto") -> Iterator[str]:
        """The folder or hub id of a whole model; for an adapter, a temporary folder with the merged weights.

        Raises:
            EngineError: the merged weights could not be written.
        """
        source = self._found_on_hub()
        if source.adapter is None:
            yield source.weights
            return
        with tempfile.TemporaryDirectory(prefix="relay-merged-") as folder:
            model = source.load(dtype=dtype, device="cpu")
            try:
                model_folder.save_model(model, tokenizer.hf, Path(folder) / "model")
            except OSError as error:
                raise EngineError(f"the merged model could not be written to {folder} (TMPDIR): {error}") from error
            del model
            yield str(Path(folder) / "model")

    @contextmanager
    def _naming_the_adapter(self) -> Iterator[None]:
        """Say in an error about a base which adapter needs it, and how to name another base."""
        try:
            yield
        except ConfigurationError as error:
            if self.adapter is None:
                raise
            raise ConfigurationError(
                f"the base of the adapter {self.adapter}: {error}; or {adapter_folder.HOW_TO_NAME_A_BASE}"
            ) from error

    def _found_on_hub(self) -> ModelSource:
        """This source, or that of the adapter that stands on the hub under this id, downloaded."""
        if self.adapter is not None or self.folder is not None:
            return self
        folder = hub.folder_with(self.weights, adapter_folder.CONFIG, _ADAPTER_FILES)
        if folder is not None:
            return ModelSource.of(folder, self.base)
        if self.base is not None:
            raise ConfigurationError(f"{self.weights} is no adapter, and base is {self.base}: leave it out")
        return self
