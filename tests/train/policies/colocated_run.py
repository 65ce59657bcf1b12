"""Three updates with ``colocate``, in a process of its own: in each rollout, vLLM answers as the live weights do.

    python colocated_run.py MODEL_FOLDER OUT_FOLDER [lora]

prints one line of JSON; with ``lora``, which is left to be run by hand, an adapter is trained. vLLM changes much of its
process (variables, threads, torch's process group), so that the test module does not load it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from relay_core import EngineError, Prompt, Relay, RelayResult, RelaySettings, Sampling, ScriptedEngine, portal
from relay_core.engines.base import Engine
from relay_core.train import models
from relay_core.train.policies.colocate import ColocatePolicy
from relay_core.train.policies.live import LivePolicy
from relay_core.train.sections import Lora
from relay_core.train.trainer import arguments, common_values

QUESTIONS = [[{"role": "user", "content": f"What is {n} * {n + 5}?"}] for n in range(8)]
# chance interrupts the answers at the same tokens of the same seed, whatever the engine
SETTINGS = RelaySettings(max_tokens=30, temperature=0.0, trigger="chance:0.15,3", seed=1)


def answers(student: Engine, teacher: Engine, questions: Any, **settings: Any) -> list[RelayResult]:
    async def ask() -> list[RelayResult]:
        return await Relay(student, teacher, SETTINGS).abatch(questions, **settings)

    return portal.run(ask)


async def drop_one(engine: Engine) -> None:
    """Begin an answer, and close it after a few tokens."""
    ids = engine.tokenizer.encode("What is") if engine.tokenizer else []
    stream = engine.stream(Prompt("What is", ids), Sampling(400))
    await anext(stream)
    await stream.aclose()
    await asyncio.sleep(0.2)


def main(folder: str, out: str, lora: str = "") -> dict[str, Any]:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    models.quiet()
    model, tokenizer = models.trainable(folder, Lora(r=8 if lora else 0), folder, seed=0)
    policy, live = ColocatePolicy(tokenizer, {}), LivePolicy(tokenizer, frees_cache=True)
    teacher = ScriptedEngine(" so it is", tokenizer)
    report: dict[str, Any] = {"colocate": [], "live": [], "calls": [], "left": []}

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        for name, each in (("live", live), ("colocate", policy)):
            with each.generating(trainer):
                rows = [r.transcript.training_row() for r in answers(each.engine, teacher, QUESTIONS)]
                report[name].append([list(row.token_ids) for row in rows])
                if name == "live":
                    continue
                portal.run(drop_one, policy.engine)
                report["left"].append(trainer.vllm_generation.llm.llm_engine.get_num_unfinished_requests())
                results = answers(policy.engine, teacher, prompts, temperature=1.0, seed=None)
        report["calls"].append(sum(len(r.calls) for r in results))
        rows = [r.transcript.training_row() for r in results]
        return {
            "prompt_ids": [list(row.prompt_ids) for row in rows],
            "completion_ids": [list(row.token_ids) for row in rows],
            "logprobs": [[0.0 if p is None else p for p in row.logprobs] for row in rows],
            "env_mask": [list(row.mask) for row in rows],
        }

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [float(sum(i % 7 == 0 for i in ids)) for ids in completion_ids]

    values = {
        **common_values(Path(out), seed=0), **policy.trainer_values, "per_device_train_batch_size": 8,
        "num_generations": 4, "max_steps": 3, "max_completion_length": 30, "learning_rate": 0.02, "report_to": [],
        "logging_steps": 1, "save_strategy": "no", "beta": 0.0, "use_cpu": True,
    }  # fmt: skip
    args = arguments(GRPOConfig, "grpo", values)
    with policy.building(model, args):
        trainer = GRPOTrainer(
            model=model, args=args, reward_funcs=[reward], processing_class=tokenizer, rollout_func=rollout,
            train_dataset=Dataset.from_list([{"prompt": question} for question in QUESTIONS]),
        )  # fmt: skip
    policy.attach(trainer)
    live.attach(trainer)
    report["dtype"] = str(trainer.vllm_generation.llm.llm_engine.model_config.dtype)
    trainer.train()
    try:
        answers(policy.engine, teacher, QUESTIONS[:1])
    except EngineError as error:
        report["outside"] = str(error)
    policy.release()
    policy.release()
    live.release()
    import torch

    logs = [log for log in trainer.state.log_history if "loss" in log]
    name = "sampling/sampling_logp_difference/max"
    report["gap"] = [log[name] for log in logs]
    report["group"] = torch.distributed.is_initialized()
    report["variables"] = [n for n in ("RANK", "WORLD_SIZE", "MASTER_PORT") if n in os.environ]
    return report


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
