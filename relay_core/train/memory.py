"""What the stages of a run take in memory, estimated from the configs of its models before anything is loaded.

    student    float32 weights, gradients, the optimizer's state; a forward and backward pass (``memory_trace.py``); the
               reference model; the engine that decodes during rollouts
    teacher    weights and cache, if it runs in this process (``engines/transformers/forecast.py``)

A phase holds what is there at the same time: distillation and warm-up train the student alone; during a rollout the
student's engine works, and during an update the pass is there in its place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay_core.engines.spec import EngineSpec, Scheme
from relay_core.engines.transformers import cache_size, memory
from relay_core.engines.transformers.footprint import GIB, Footprint, context_of, default_device, token_bytes
from relay_core.engines.transformers.forecast import forecast_specs
from relay_core.engines.transformers.options import BatchingOptions
from relay_core.errors import EngineError
from relay_core.train import models
from relay_core.train.recipe import Recipe
from relay_core.train.sections import Lora, Supervised

FLOAT32 = 4
CUDA_CONTEXT = int(0.6 * GIB)
"""What a process takes of a GPU beside its tensors."""
CPU_SLACK = 0.15
"""What C's allocator keeps of freed memory on a CPU, as a share of what training takes: 3 to 33% in the runs of
``benchmarks/training_memory.py``, most where temporary tensors have just under 32 MiB."""
PROMPT_TOKENS = 512
"""The length of prompts, where nobody knows it."""
VLLM_SHARE = {"student": 0.3, "teacher": 0.9}
"""vLLM's share of a GPU by default: TRL's default for the student, vLLM's own for a teacher."""
_PHASES = {"distill": "distillation", "warmup": "warm-up"}
_OPTIMIZER_BYTES = {"8bit": 2, "4bit": 1, "adafactor": 0, "sgd": 0, "adagrad": 4, "rmsprop": 4, "lion": 4}


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of a stage on one device: the bytes of each part that is there at the same time."""

    name: str
    device: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """The sum of all parts, in bytes."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in self.parts.items() if size)
        return f"{self.name}: {self.total / GIB:.2f} GiB on {self.device} ({parts})"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The phases of a run, the bytes that are free on each device, and the models whose sizes are not known."""

    phases: tuple[Phase, ...]
    free: Mapping[str, int]
    unknown: tuple[str, ...] = ()

    @property
    def too_large(self) -> list[Phase]:
        """The phases that do not fit."""
        return [phase for phase in self.phases if phase.total > self.free[phase.device]]


def estimate(recipe: Recipe, *, world: int = 1, prompt_tokens: int = PROMPT_TOKENS) -> Estimate:
    """The memory of distillation, warm-up and GRPO, on the devices of this process.

    Args:
        recipe: the run's values.
        world: the number of processes. On a CPU, the processes of one machine share its memory.
        prompt_tokens: the length of the longest prompt.

    Raises:
        ConfigurationError: the student cannot be trained here, or the teacher's spec cannot be used.
    """
    device = default_device()
    name, free = str(device), {str(device): memory.free_bytes(device)}
    teacher, unknown = _teacher(recipe, free)
    config = config_of(models.base_of(recipe.student))
    if config is None:
        return Estimate(tuple(Phase("teacher", d, parts) for d, parts in teacher.items()), free, (*unknown, "student"))
    student = Student(config, recipe, device.type, world, prompt_tokens)
    engine = student.engine(free[name])
    phases = [
        Phase(_PHASES[stage], name, student.with_slack({**student.state, **student.supervised_pass(section)}))
        for stage, section in recipe.supervised.items()
    ]
    held = {**student.state, **student.reference()}
    held_by_teacher = teacher.pop(name, {}) if recipe.grpo.calls else {}
    rollout = {part: size for part, size in held.items() if part != "gradients"}
    phases.append(Phase("rollout", name, {**student.with_slack(rollout), **engine, **held_by_teacher}))
    sleeps = device.type == "cuda" and bool(recipe.grpo.trainer.get("vllm_enable_sleep_mode", True))
    kept = {} if sleeps else engine
    update = student.with_slack({**held, **student.grpo_pass()})
    phases.append(Phase("update", name, {**update, **kept, **held_by_teacher}))
    if device.type == "cpu":
        shared = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        phases = [Phase(p.name, p.device, {n: size * shared for n, size in p.parts.items()}) for p in phases]
    if recipe.grpo.calls:
        phases += [Phase("teacher", other, parts) for other, parts in teacher.items()]
    return Estimate(tuple(phases), free, tuple(unknown))


class Student:
    """The parts of a student in training.

    Args:
        config: its model's config.
        recipe: the run's values.
        device: the type of the device.
        world: the number of processes.
        prompt_tokens: the length of the longest prompt.
    """

    def __init__(self, config: Any, recipe: Recipe, device: str, world: int, prompt_tokens: int) -> None:
        self._config, self._recipe, self._device, self._world = config, recipe, device, world
        self._length = prompt_tokens + recipe.settings().max_tokens
        self.parameters = parameter_count(config)
        self.trained = adapter_count(config, recipe.lora) if recipe.lora.r else self.parameters
        self._shards = world if is_sharded() else 1

    @property
    def state(self) -> dict[str, int]:
        """Weights, gradients and the optimizer's state, in bytes of each process."""
        per_parameter = optimizer_bytes(str(self._recipe.grpo.trainer.get("optim", "adamw_torch_fused")))
        lora = self._recipe.lora
        base = self.parameters * (_bytes_of(lora.dtype) if lora.r else 0)
        parts = {
            "weights": base + self.trained * FLOAT32,
            "gradients": self.trained * FLOAT32,
            "optimizer": self.trained * per_parameter,
        }
        return {part: size // self._shards for part, size in parts.items()}

    def reference(self) -> dict[str, int]:
        """The reference model of GRPO's KL term; an adapter needs none, since it can be turned off."""
        trainer = self._recipe.grpo.trainer
        if not trainer.get("beta", 0.0) or self._recipe.lora.r:
            return {}
        dtype = str((trainer.get("model_init_kwargs") or {}).get("dtype", "float32"))
        return {"reference": self.parameters * _bytes_of(dtype) // self._shards}

    def engine(self, free: int) -> dict[str, int]:
        """What decodes during rollouts: the cache of the live model, or vLLM.

        Args:
            free: bytes that are free on the device before anything is loaded.
        """
        trainer, policy = self._recipe.grpo.trainer, self._recipe.grpo.policy
        if policy == "server":
            return {}
        if policy == "colocate" and self._device == "cuda":
            share = float(trainer.get("vllm_gpu_memory_utilization", VLLM_SHARE["student"]))
            return {"vLLM": int(share * device_bytes())}
        sizes = Footprint(
            self.parameters * FLOAT32, False, token_bytes(self._config, FLOAT32), context_of(self._config)
        )
        left = max(0, free - sizes.weights)
        try:
            tokens = cache_size.cache_tokens(sizes, _default_options(), self._device, free=left)
        except EngineError:  # the training alone does not fit
            tokens = 0
        return {"cache": tokens * sizes.token}

    def with_slack(self, parts: Mapping[str, int]) -> dict[str, int]:
        """``parts``, and what the process takes of the device beside its tensors."""
        if self._device == "cpu":
            return {**parts, "allocator": int(CPU_SLACK * sum(parts.values()))}
        return {**parts, "context": CUDA_CONTEXT}

    def supervised_pass(self, section: Supervised) -> dict[str, int]:
        """The pass of distillation or warm-up: ``per_device_train_batch_size`` rows, or all of a batch, of at most
        ``max_length``."""
        trainer = section.trainer
        in_batch = max(1, section.batch_size // self._world)
        rows = int(trainer.get("per_device_train_batch_size", in_batch))
        length = min(self._length, int(trainer.get("max_length") or self._length))
        return self._pass(rows, length, trainer, rows < in_batch)

    def grpo_pass(self) -> dict[str, int]:
        """The pass of GRPO: as many of the longest rows as ``tokens_per_forward`` allows, and of one update."""
        grpo = self._recipe.grpo
        in_update = max(1, grpo.prompts * grpo.group_size // (grpo.updates * self._world))
        rows = max(1, min(in_update, grpo.tokens_per_forward // self._length))
        return self._pass(rows, self._length, grpo.trainer, rows < in_update)

    def _pass(self, rows: int, length: int, trainer: Mapping[str, Any], adds_up: bool) -> dict[str, int]:
        from relay_core.train.memory_trace import pass_bytes

        size = pass_bytes(
            self._config,
            rows=rows,
            length=length,
            device=self._device,
            autocast=bool(trainer.get("bf16", False)),
            checkpointing=bool(trainer.get("gradient_checkpointing", False)),
            with_gradients=adds_up,
        )
        return {f"pass of {rows} x {length} tokens": size}


def config_of(source: str) -> Any | None:
    """The config of a model; ``None`` if it is not on this machine and cannot be fetched."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError):
        return None


def parameter_count(config: Any) -> int:
    """The number of parameters of a model with this config; tied weights count once."""
    return sum(parameter.numel() for parameter in _on_meta(config).parameters())


def adapter_count(config: Any, lora: Lora) -> int:
    """The number of parameters of a LoRA adapter: r x (inputs + outputs) for each matrix that gets one."""
    import torch

    model = _on_meta(config)
    head, named = model.get_output_embeddings(), lora.target_modules
    total = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            is_target = named == "all-linear" or name.rpartition(".")[2] in (
                [named] if isinstance(named, str) else named
            )
            total += lora.r * (module.in_features + module.out_features) if is_target else 0
    return total


def optimizer_bytes(name: str) -> int:
    """Bytes of the state of an optimizer for each parameter, by transformers' name of it; AdamW in float32 has 8."""
    return next((size for part, size in _OPTIMIZER_BYTES.items() if part in name), 8)


def is_sharded() -> bool:
    """Whether accelerate is told to divide weights, gradients and optimizer among the processes."""
    is_zero3 = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "0") == "3"
    deepspeed, fsdp = (os.environ.get(f"ACCELERATE_USE_{n}", "").lower() == "true" for n in ("DEEPSPEED", "FSDP"))
    return fsdp or (deepspeed and is_zero3)


def _bytes_of(dtype: str) -> int:
    return 2 if dtype in ("bfloat16", "float16") else FLOAT32


def device_bytes() -> int:
    """The memory of the GPU, used or not."""
    import torch

    return int(torch.cuda.get_device_properties(default_device()).total_memory)


def teacher_specs(recipe: Recipe) -> list[str]:
    """The teacher's specs: one, or those of several servers."""
    return [recipe.teacher] if isinstance(recipe.teacher, str) else list(recipe.teacher)


def _teacher(recipe: Recipe, free: dict[str, int]) -> tuple[dict[str, dict[str, int]], list[str]]:
    """The teacher's parts by device, and who is unknown; adds devices to ``free``."""
    parts: dict[str, dict[str, int]] = {}
    unknown: list[str] = []
    for spec in map(EngineSpec.parse, teacher_specs(recipe)):
        if spec.scheme is Scheme.OPENAI:
            continue
        if spec.scheme is Scheme.VLLM:
            device, sizes = str(default_device()), _vllm(spec)
            is_known = bool(sizes)
        else:
            report = forecast_specs({"teacher": spec}, **models.ROOM)
            model = report["models"]["teacher"]
            device, is_known = model["device"], "weights_gib" in model
            named = {"teacher": "weights_gib", "teacher's cache": "cache_gib"}
            sizes = {part: int(model.get(name, 0.0) * GIB) for part, name in named.items()}
            free.setdefault(device, int(report["free_gib"][device] * GIB))
        if not is_known:
            unknown.append("teacher")
        there = parts.setdefault(device, {})
        there.update({part: there.get(part, 0) + size for part, size in sizes.items()})
    return parts, unknown


def _vllm(spec: EngineSpec) -> dict[str, int]:
    """A teacher on vLLM in this process, which takes a share of the GPU; on a CPU it does not say what it takes."""
    import torch

    share = float(str(dict(spec.options).get("gpu_memory_utilization", VLLM_SHARE["teacher"])))
    return {"teacher (vLLM)": int(share * device_bytes())} if torch.cuda.is_available() else {}


def _default_options() -> BatchingOptions:
    """The options of an engine on a live model."""
    import inspect

    from relay_core.engines.transformers import TransformersEngine

    defaults = inspect.signature(TransformersEngine).parameters
    return BatchingOptions(**{name: defaults[name].default for name in BatchingOptions.__dataclass_fields__})


def _on_meta(config: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)
