"""What a decode step costs beside the model: 200 steps of one model, taken apart.

    python -m benchmarks.gpu.step_trace --model 0.6B --at-once 1 64

The same requests run through three phases, of 200 steps each (the third of 20, as the profiler's events are many):

1. undisturbed: the time of a step;
2. with the device synchronised before and after the model: the time of the model, of sampling and of delivering tokens,
   and of the rest (the manager's scheduling and its preparation of inputs);
3. under torch's profiler: how many kernels a step launches, and how long the device computes.

A step that takes much longer than the device computes is bound by launches or by Python.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from benchmarks.decode_rounds import FreshPrompts
from benchmarks.gpu.pairs import BATCHING
from benchmarks.gpu.results import Deadline, Results, step_parser
from benchmarks.gpu.shapes import RandomWords, build
from benchmarks.random_pair import qwen3_tokenizer
from relay_core import TransformersEngine
from relay_core.chat import Conversation, render
from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.transformers.sampler import Sampler
from relay_core.tokenizer import Tokenizer

STEPS, TINY_STEPS = 200, 20
PROFILED_STEPS = 20
PROMPT_TOKENS = 100
BEFORE = 10  # steps before the first that counts: prompts are read and all requests have begun
SHOWN_KERNELS = 12


class Trace:
    """Observes the steps of a model in three phases, one after the other.

    Everything here runs on the thread that runs the model. A step begins where the model begins.

    Args:
        model: hooks are put on it.
        steps: the steps of the first two phases.
        at_once: decode steps have this many tokens; others are not counted.
    """

    def __init__(self, model: PreTrainedModel, steps: int, at_once: int) -> None:
        self.at_once = at_once
        self.phases = {"undisturbed": steps, "synchronised": steps, "profiled": min(steps, PROFILED_STEPS)}
        self.remaining = list(self.phases)
        self.seconds: dict[str, float] = defaultdict(float)  # by part, of the synchronised phase
        self.phase_s: dict[str, float] = {}  # finished phases
        self.profile: Any = None
        self._on_cuda = model.device.type == "cuda"
        self._phase = ""
        self._count, self._began, self._model_began = -BEFORE, 0.0, 0.0
        self._hooks = [
            model.register_forward_pre_hook(self._before_model, with_kwargs=True),
            model.register_forward_hook(self._after_model),
        ]

    @property
    def is_done(self) -> bool:
        """Whether all phases are over."""
        return not self._phase and not self.remaining

    @property
    def _is_synchronised(self) -> bool:
        return self._phase == "synchronised"

    def remove(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose time is added to ``part`` in the synchronised phase."""

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                if self._is_synchronised:
                    self.seconds[part] += time.perf_counter() - began

        return run

    def _before_model(self, module: torch.nn.Module, arguments: Any, options: dict[str, Any]) -> None:
        if options["input_ids"].shape[-1] != self.at_once or self.is_done:
            return
        if self._phase and self._count == self.phases[self._phase]:
            self._end_phase()
        if not self._phase and self._count >= 0:
            if self.is_done:
                return
            self._begin_phase()
        self._count += 1
        if self._is_synchronised:
            self._synchronize()
            self._model_began = time.perf_counter()

    def _after_model(self, *_: Any) -> None:
        if self._is_synchronised and self._model_began:
            self._synchronize()
            self.seconds["model"] += time.perf_counter() - self._model_began
            self._model_began = 0.0

    def _begin_phase(self) -> None:
        self._phase, self._count = self.remaining.pop(0), 0
        if self._phase == "profiled":
            self.profile = profile(activities=self.activities)
            self.profile.start()
        self._synchronize()
        self._began = time.perf_counter()

    def _end_phase(self) -> None:
        self._synchronize()
        self.phase_s[self._phase] = time.perf_counter() - self._began
        if self._phase == "profiled":
            self.profile.stop()
        self._phase = ""

    @property
    def activities(self) -> list[ProfilerActivity]:
        """What the profiler records."""
        return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._on_cuda else [])]

    def _synchronize(self) -> None:
        if self._on_cuda:
            torch.cuda.synchronize()

    def table(self) -> dict[str, Any]:
        """Milliseconds and counts of one step, and the kernels (operators, on a CPU) that take longest."""
        step, synchronised = (1000 * self.phase_s[name] / self.phases[name] for name in ("undisturbed", "synchronised"))
        steps, profiled_steps = self.phases["synchronised"], self.phases["profiled"]
        model, delivery = (1000 * self.seconds[part] / steps for part in ("model", "delivery"))
        sampler = 1000 * self.seconds["sampler"] / steps - delivery  # the sampler calls the delivery
        events = self.profile.key_averages()
        if self._on_cuda:
            kernels = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
            times = {event.key: event.self_device_time_total for event in kernels}
        else:
            kernels = [event for event in events if event.key.startswith("aten::")]
            times = {event.key: event.self_cpu_time_total for event in kernels}
        longest = sorted(kernels, key=lambda event: -times[event.key])[:SHOWN_KERNELS]
        return {
            "step_ms": round(step, 3),
            "synchronised_step_ms": round(synchronised, 3),
            "model_ms": round(model, 3),
            "sampler_ms": round(sampler, 3),
            "delivery_ms": round(delivery, 3),
            "rest_ms": round(synchronised - model - sampler - delivery, 3),
            "device_busy_ms": round(sum(times.values()) / 1000 / profiled_steps, 3),
            "kernels": round(sum(event.count for event in kernels) / profiled_steps, 1),
            "launches": round(sum(e.count for e in events if "LaunchKernel" in e.key) / profiled_steps, 1),
            "longest_kernels": [
                {
                    "name": e.key[:90],
                    "ms": round(times[e.key] / 1000 / profiled_steps, 4),
                    "count": e.count / profiled_steps,
                }
                for e in longest
            ],
        }


async def trace(
    model: PreTrainedModel, tokenizer: Tokenizer, at_once: int, steps: int, **options: Any
) -> dict[str, Any]:
    """The table of one model with ``at_once`` requests; ``options`` go to the engine."""
    length = BEFORE + 4 * steps  # more than the phases have: the requests begin one after the other
    engine = TransformersEngine(model, tokenizer, cache_tokens=at_once * (PROMPT_TOKENS + length + 64), **options)
    observed = Trace(model, steps, at_once)
    with profile(activities=observed.activities):
        pass  # the profiler must be used first in the main thread
    call, deliver = Sampler.__call__, Sampler._deliver
    Sampler.__call__, Sampler._deliver = observed.timed("sampler", call), observed.timed("delivery", deliver)  # type: ignore[method-assign]

    async def write(messages: Any) -> None:
        prompt = render(tokenizer, Conversation.of(messages))
        async with aclosing(engine.stream(Prompt(prompt.text, prompt.token_ids), Sampling(length))) as chunks:
            async for _ in chunks:
                if observed.is_done:
                    break

    try:
        await asyncio.gather(*map(write, FreshPrompts(RandomWords(tokenizer, PROMPT_TOKENS), seed=2).take(at_once)))
    finally:
        Sampler.__call__, Sampler._deliver = call, deliver  # type: ignore[method-assign]
        observed.remove()
        await engine.aclose()
    return observed.table()


def as_text(table: dict[str, Any]) -> str:
    """The table for a person."""
    parts = ("model_ms", "sampler_ms", "delivery_ms", "rest_ms")
    lines = [f"{name:24}{table[name]:10}{table[name] / table['synchronised_step_ms']:8.0%}" for name in parts]
    lines += [
        f"{name:24}{table[name]:10}"
        for name in ("step_ms", "synchronised_step_ms", "device_busy_ms", "kernels", "launches")
    ]
    lines += [f"{k['ms']:10} ms {k['count']:8.1f} x  {k['name']}" for k in table["longest_kernels"]]
    return "\n".join(lines)


def run(options: argparse.Namespace, results: Results) -> None:
    """Trace the model with each number of requests."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = qwen3_tokenizer(Path(folder))
    model = build(options.model, tokenizer, options.device, tiny=options.tiny)
    steps = TINY_STEPS if options.tiny else STEPS
    for at_once in options.at_once or ([1, 4] if options.tiny else [1, 64]):
        table = asyncio.run(trace(model, tokenizer, at_once, steps, **BATCHING[options.batching]))
        print(f"{options.model}, {at_once} requests, a step\n{as_text(table)}", flush=True)
        results.add(f"{options.model}, {at_once} requests", table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the step; returns the exit status."""
    parser = step_parser(__doc__)
    parser.add_argument("--model", choices=("0.6B", "1.7B", "8B"), default="0.6B")
    parser.add_argument("--at-once", type=int, nargs="+", help="concurrent requests; 1 and 64 otherwise")
    parser.add_argument("--batching", choices=tuple(BATCHING), default="plain", help="options of the engine")
    options = parser.parse_args(arguments)
    Deadline(options.limit)
    run(options, Results(options.out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
