"""``live``: the student decodes with the very weights that are trained, on transformers' continuous batching.

Take it on a CPU, for small models, and to try a recipe. It needs nothing but transformers, copies no weights, and its
log-probabilities differ from the trainer's by rounding alone. For models of a billion parameters and answers of
thousands of tokens, vLLM is several times faster: take ``colocate``. With ``grpo.sampling_dtype``, it decodes on a copy
in another dtype (``copied.py``).

The weights must be whole in every process: one process, or several with DDP. FSDP and DeepSpeed ZeRO-3 are refused. The
engine decodes in the dtype of the weights, so with ``bf16: true`` over float32 weights it decodes in float32, and its
log-probabilities differ from those of the trainer's bfloat16 by more than rounding.

On a GPU, the engine's cache, which may take most of the free memory, is freed after each rollout and allocated again
for the next one. In the memory of a CPU it stays, and the engine only pauses.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from relay_core import portal
from relay_core.engines.base import Chunk, Engine, Prompt, Sampling
from relay_core.engines.wrapped import Wrapped
from relay_core.errors import ConfigurationError
from relay_core.train import models

if TYPE_CHECKING:
    from relay_core.engines.transformers import TransformersEngine


class ProcessedLogprobs(Wrapped):
    """The student's engine with log-probabilities after the temperature, as the trainer computes them."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        async for chunk in self.inner.stream(prompt, replace(sampling, processed_logprobs=True)):
            yield chunk


class LivePolicy:
    """Hands the live model back and forth between the student's engine and the trainer.

    Args:
        tokenizer: the student's tokenizer.
        frees_cache: whether the engine's cache is freed between rollouts; ``None`` means on a GPU.
    """

    trainer_values: Mapping[str, Any] = {"use_vllm": False}

    def __init__(self, tokenizer: Any, *, frees_cache: bool | None = None) -> None:
        self._tokenizer, self._frees_cache = tokenizer, frees_cache
        self._engine: TransformersEngine | None = None
        self._pause = contextlib.ExitStack()

    @property
    def engine(self) -> Engine:
        return ProcessedLogprobs(self._live)

    @property
    def _live(self) -> TransformersEngine:
        assert self._engine is not None, "attach comes first"
        return self._engine

    def building(self, model: Any, args: Any) -> contextlib.AbstractContextManager[None]:
        """Nothing needs to be prepared."""
        return contextlib.nullcontext()

    def attach(self, trainer: Any) -> None:
        """Make an engine on the model of ``trainer``.

        Raises:
            ConfigurationError: the weights are sharded.
        """
        if sharding := _sharding(trainer.accelerator):
            raise ConfigurationError(
                f"grpo.policy is live, but {sharding} gives each process a part of the weights only: write "
                "grpo.policy: colocate or server, or train without it (DDP)"
            )
        self._engine = models.engine_on(self._decoding(trainer.model), self._tokenizer, "student")
        if self._frees_cache is None:
            self._frees_cache = next(trainer.model.parameters()).device.type == "cuda"

    def _decoding(self, model: Any) -> Any:
        """The model that decodes: the trained one itself."""
        return model

    @contextlib.contextmanager
    def generating(self, trainer: Any) -> Iterator[None]:
        """Let the engine generate with the current weights of the trainer's model, in evaluation mode."""
        self._pause.close()
        model, engine = trainer.model, self._live
        training = model.training
        model.eval()
        try:
            self._free_memory()  # the trainer's unused blocks: a new cache takes a share of the free memory
            engine.weights_changed()
            yield
        finally:
            model.train(training)
            if self._frees_cache:
                portal.run(engine.aclose)
                self._free_memory()
            else:
                self._pause.enter_context(engine.paused())

    def _free_memory(self) -> None:
        if self._frees_cache:
            import torch

            torch.cuda.empty_cache()  # does nothing without a GPU

    def release(self) -> None:
        """End the pause, and close the engine."""
        self._pause.close()
        if self._engine is not None:
            portal.run(self._engine.aclose)


def _sharding(accelerator: Any) -> str | None:
    """What shards the weights over the processes; ``None`` if every process has them whole."""
    state = accelerator.state
    deepspeed = getattr(state, "deepspeed_plugin", None)
    if deepspeed is not None and deepspeed.zero_stage == 3:
        return "DeepSpeed ZeRO-3"
    return "FSDP" if getattr(state, "fsdp_plugin", None) is not None else None
