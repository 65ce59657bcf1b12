"""``server`` on a real vLLM server. The transfer of the weights needs CUDA, so it is a note in a list here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch

from relay_core import Chunk, ConfigurationError, Prompt, Relay, RelaySettings, Sampling, ScriptedEngine, portal
from relay_core.engines.openai import OpenAIEngine
from relay_core.errors import MissingExtraError
from relay_core.train import models
from relay_core.train.policies import server
from relay_core.train.policies.server import ServerPolicy, check_device, check_server
from relay_core.train.trainer import arguments, common_values

QUESTIONS = [[{"role": "user", "content": f"What is {n}?"}] for n in range(4)]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, in order: the transfer, which does nothing else, the barrier, and the requests."""
    from accelerate import Accelerator
    from trl.generation.vllm_client import VLLMClient

    noted: list[str] = []
    barrier, stream = Accelerator.wait_for_everyone, OpenAIEngine.stream

    def wait(self: Any) -> None:
        noted.append("barrier")
        barrier(self)

    def request(self: Any, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        noted.append("request")
        return stream(self, prompt, sampling)

    monkeypatch.setattr(VLLMClient, "init_communicator", lambda self, device: noted.append("join"))
    monkeypatch.setattr(VLLMClient, "update_named_params", lambda self, names, weights: noted.append("weights"))
    monkeypatch.setattr(VLLMClient, "reset_prefix_cache", lambda self: noted.append("reset"))
    monkeypatch.setattr(
        VLLMClient, "get_server_info", lambda s: {"model_config": {"logprobs_mode": "processed_logprobs"}}
    )
    monkeypatch.setattr(Accelerator, "wait_for_everyone", wait)
    monkeypatch.setattr(OpenAIEngine, "stream", request)
    monkeypatch.setattr(server, "check_device", lambda device: None)
    monkeypatch.setattr(server, "check_server", lambda url: None)
    return noted


@pytest.mark.timeout(500)
def test_weights_then_barrier_then_requests(vllm_url: str, tiny_model: Path, tmp_path: Path, done: list[str]) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    models.quiet()
    model, tokenizer = models.load(str(tiny_model))
    policy, teacher = ServerPolicy(tokenizer, vllm_url), ScriptedEngine(" so it is", tokenizer)
    settings = RelaySettings(max_tokens=16, temperature=1.0, trigger="chance:0.15,3", seed=1)

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        async def ask() -> Any:
            return await Relay(policy.engine, teacher, settings).abatch(prompts)

        done.append("rollout")
        with policy.generating(trainer):
            results = portal.run(ask)
        done.append("end")
        rows = [r.transcript.training_row() for r in results]
        return {
            "prompt_ids": [list(row.prompt_ids) for row in rows],
            "completion_ids": [list(row.token_ids) for row in rows],
            "logprobs": [[0.0 if p is None else p for p in row.logprobs] for row in rows],
            "env_mask": [list(row.mask) for row in rows],
        }

    values = {
        **common_values(tmp_path, seed=0), **policy.trainer_values, "per_device_train_batch_size": 4, "max_steps": 2,
        "num_generations": 4, "max_completion_length": 16, "learning_rate": 0.0, "report_to": [], "logging_steps": 1,
        "save_strategy": "no", "use_cpu": True, "beta": 0.0,
    }  # fmt: skip
    args = arguments(GRPOConfig, "grpo", values)
    with policy.building(model, args):
        trainer = GRPOTrainer(
            model=model, args=args, reward_funcs=[lambda completions, **_: [1.0, 0.0, 0.0, 0.0]],
            train_dataset=Dataset.from_list([{"prompt": q} for q in QUESTIONS]), processing_class=tokenizer,
            rollout_func=rollout,
        )  # fmt: skip
    policy.attach(trainer)
    assert done[0] == "join" and "request" not in done
    done.clear()
    trainer.train()
    policy.release()
    for _ in range(2):
        assert done[:4] == ["weights", "reset", "rollout", "barrier"]
        assert set(done[4 : done.index("end")]) == {"request"}
        del done[: done.index("end") + 1]
        while done and done[0] == "barrier":
            del done[0]
    # at a learning rate of 0, the server has the weights that are trained, and its log-probabilities are the trainer's
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert max(log["sampling/sampling_logp_difference/max"] for log in logs) < 1e-3


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
    def get(url: str, **_: Any) -> httpx.Response:
        path = url.removeprefix("http://a:1").partition("?")[0]
        if path not in answers:
            raise httpx.ConnectError("refused")
        status, body = answers[path]
        return httpx.Response(status, json=body)

    monkeypatch.setattr(httpx, "get", get)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "no server answers at http://a:1"),
        ({"/health": (503, {})}, "not ready"),
        ({"/health": (200, {}), "/server_info": (404, {})}, "does not let anyone send weights"),
        (
            {"/health": (200, {}), "/server_info": (200, {"vllm_config": {"weight_transfer_config": None}})},
            "has no --weight-transfer-config",
        ),
        (
            {
                "/health": (200, {}),
                "/server_info": (
                    200,
                    {"vllm_config": {"weight_transfer_config": {}, "model_config": {"logprobs_mode": "raw_logprobs"}}},
                ),
            },
            "--logprobs-mode raw_logprobs",
        ),
    ],
)
def test_a_server_that_cannot_be_used(answers: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, answers)
    with pytest.raises(ConfigurationError, match=message) as failure:
        check_server("http://a:1")
    assert "start it with: VLLM_SERVER_DEV_MODE=1 vllm serve" in failure.value.message


@pytest.mark.timeout(500)
def test_a_real_server_without_the_flags_is_told_from_a_ready_one(vllm_url: str) -> None:
    with pytest.raises(ConfigurationError, match="start it with"):
        check_server(vllm_url)


def test_weights_are_sent_from_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device(torch.device("cuda:3"))
    policy = ServerPolicy(ScriptedEngine("").tokenizer, "http://a:1")
    with (
        pytest.raises(ConfigurationError, match="by NCCL from a GPU, but the trainer's device is cpu"),
        policy.building(None, SimpleNamespace(device=torch.device("cpu"))),
    ):
        pass
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"grpo\.policy: server"):
        ServerPolicy(None, "http://a:1")
