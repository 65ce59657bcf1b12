"""``colocate``: the student decodes in a vLLM in the training process, which TRL makes and gives the weights to.

Take it for real models on the GPUs that train. Each process has a whole vLLM on its own GPU (tensor parallelism is
refused) and answers its own share of the prompts. Before each rollout, TRL copies the weights, one parameter at a time,
also from FSDP, DeepSpeed ZeRO-3 and adapters, and clears the prefix cache. ``grpo.trainer.vllm_gpu_memory_utilization``
is the share of the GPU that vLLM takes.

Sleep mode, which is on where there is a GPU, frees that share while the trainer updates: TRL wakes the weights to copy
them, we wake the cache for the rollout, and put both to sleep again after it.

TRL passes no dtype to vLLM, which serves a folder of float32 weights in bfloat16. We serve the dtype in which the
trainer computes: with ``bf16: true`` bfloat16, else that of the weights.

On a CPU, vLLM packs its weights so that they cannot be replaced; we turn that off, and compilation too. Two
processes (gloo) on a CPU were run; sleep mode, CUDA graphs, NCCL, FSDP and ZeRO-3 never were, for want of a GPU.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from relay_core.errors import ConfigurationError, EngineError, MissingExtraError
from relay_core.train.policies.stepped_engine import SteppedEngine

# Variables that TRL and vLLM set for the whole process. Processes that are started later must not inherit them.
_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "VLLM_ENABLE_V1_MULTIPROCESSING")


class ColocatePolicy:
    """Steps TRL's vLLM during rollouts.

    Args:
        tokenizer: the student's tokenizer.
        values: the recipe's ``grpo.trainer``.

    Raises:
        MissingExtraError: vLLM is not installed.
        ConfigurationError: a value is not supported here.
    """

    def __init__(self, tokenizer: Any, values: Mapping[str, Any]) -> None:
        if find_spec("vllm") is None:
            raise MissingExtraError("grpo.policy: colocate", "vllm")
        import torch

        has_gpu = torch.cuda.is_available()
        if int(values.get("vllm_tensor_parallel_size", 1)) > 1:
            raise ConfigurationError(
                "grpo.trainer.vllm_tensor_parallel_size: with grpo.policy colocate each process has a whole vLLM, so "
                "leave it out; a student that needs several GPUs to decode needs grpo.policy: server"
            )
        if values.get("vllm_enable_sleep_mode") and not has_gpu:
            raise ConfigurationError("grpo.trainer.vllm_enable_sleep_mode is true, which needs a GPU: leave it out")
        self.trainer_values = {
            "use_vllm": True,
            "vllm_mode": "colocate",
            "vllm_enable_sleep_mode": has_gpu,
            "vllm_importance_sampling_mode": "token_truncate",  # a whole answer of 8k tokens would often be dropped
        }
        self._tokenizer = tokenizer
        self._engine: SteppedEngine | None = None
        self._llm: Any = None
        self._made_group = False  # whether vLLM made torch's process group

    @property
    def engine(self) -> SteppedEngine:
        assert self._engine is not None, "attach comes first"
        return self._engine

    @contextlib.contextmanager
    def building(self, model: Any, args: Any) -> Iterator[None]:
        """Let TRL make its vLLM in the trainer's dtype.

        Raises:
            EngineError: vLLM could not load the model.
        """
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout belongs to the caller
        import torch
        import trl.generation.vllm_generation as generation
        import vllm._custom_ops
        from vllm import LLM
        from vllm.platforms import current_platform

        options: dict[str, Any] = {"dtype": dtype_of(model, args)}
        if current_platform.is_cpu():
            options |= {"enforce_eager": True, "block_size": 32}

        def load(**arguments: Any) -> LLM:
            try:
                self._llm = LLM(**arguments, **options)
            except Exception as error:
                raise EngineError(f"vLLM could not load the student: {type(error).__name__}: {error}") from error
            return self._llm

        before = {name: os.environ.get(name) for name in _VARIABLES}
        had_group = torch.distributed.is_initialized()
        with contextlib.ExitStack() as changes:
            changes.enter_context(_changed(generation, "LLM", load))
            if current_platform.is_cpu():
                changes.enter_context(_changed(vllm._custom_ops, "_supports_onednn", False))
                changes.enter_context(_changed(torch, "set_num_threads", torch.set_num_threads))  # vLLM disables it
            try:
                yield
            finally:
                self._made_group = not had_group and torch.distributed.is_initialized()
                for name, value in before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value

    def attach(self, trainer: Any) -> None:
        """Make an engine on the vLLM of ``trainer``."""
        self._engine = SteppedEngine(trainer.vllm_generation.llm.llm_engine, self._tokenizer, "student")

    @contextlib.contextmanager
    def generating(self, trainer: Any) -> Iterator[None]:
        """Answer with the weights that TRL has copied for this rollout."""
        generation, engine = trainer.vllm_generation, self.engine
        if generation.enable_sleep_mode:
            if generation._llm_weights_sleeping:  # TRL copies no weights if it has none newer than the last rollout's
                generation.sync_weights()
            generation.llm.wake_up(tags=["kv_cache"])
        try:
            with engine.serving():
                yield
        finally:
            if generation.enable_sleep_mode:
                generation.llm.sleep(level=2)  # drops the weights, which TRL copies again for the next rollout
                generation._llm_weights_sleeping = True

    def release(self) -> None:
        """Shut vLLM down, and free its memory. Torch's process group stays if it was there before vLLM."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        import vllm.v1.engine.core as core

        # vLLM's own cleanup would also destroy the group by which the processes of this run talk
        cleanup = core.cleanup_dist_env_and_memory if self._made_group else _clean_up_vllm_alone
        with _changed(core, "cleanup_dist_env_and_memory", cleanup):
            llm.llm_engine.engine_core.shutdown()


def _clean_up_vllm_alone() -> None:
    import torch
    from vllm.distributed.parallel_state import destroy_model_parallel

    destroy_model_parallel()
    gc.collect()
    torch.cuda.empty_cache()  # does nothing without a GPU


def dtype_of(model: Any, args: Any) -> str:
    """The dtype in which the trainer computes: that of mixed precision, otherwise that of the weights."""
    if args.bf16 or args.fp16:
        return "bfloat16" if args.bf16 else "float16"
    return str(next(model.parameters()).dtype).removeprefix("torch.")


@contextlib.contextmanager
def _changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a module within the context."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
