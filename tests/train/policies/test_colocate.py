"""``colocate``: a real vLLM on this CPU gets the trainer's weights; and what is refused before anything is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from relay_core import ConfigurationError
from relay_core.errors import MissingExtraError
from relay_core.train.policies import colocate
from relay_core.train.policies.colocate import ColocatePolicy, dtype_of
from testing.servers import environment

RUN = Path(__file__).with_name("colocated_run.py")


@pytest.fixture(scope="module")
def report(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``colocated_run.py`` prints."""
    command = [sys.executable, str(RUN), str(tiny_model), str(tmp_path_factory.mktemp("colocated"))]
    variables = {k: v for k, v in environment().items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=variables)
    assert done.returncode == 0, done.stderr[-4000:]
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


@pytest.mark.timeout(500)
def test_after_each_update_vllm_answers_as_the_live_weights(report: dict[str, Any]) -> None:
    assert report["dtype"] == "torch.float32"
    assert len(report["live"]) == 3
    assert report["live"][0] != report["live"][1] != report["live"][2], "the updates must change the answers"
    assert report["colocate"] == report["live"]


@pytest.mark.timeout(500)
def test_its_log_probabilities_are_the_trainers(report: dict[str, Any]) -> None:
    assert len(report["gap"]) == 3 and max(report["gap"]) < 1e-3
    assert min(report["calls"]) > 0, "the answers must have been interrupted by calls"


@pytest.mark.timeout(500)
def test_it_leaves_nothing_behind(report: dict[str, Any]) -> None:
    assert report["left"] == [0, 0, 0], "a stream that is closed ends its request"
    assert report["outside"].endswith("answers during rollouts only: between them, the trainer has its weights")
    assert not report["group"] and not report["variables"]


def test_what_is_not_supported_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"vllm_tensor_parallel_size.*grpo.policy: server"):
        ColocatePolicy(None, {"vllm_tensor_parallel_size": 2})
    with pytest.raises(ConfigurationError, match="vllm_enable_sleep_mode is true, which needs a GPU"):
        ColocatePolicy(None, {"vllm_enable_sleep_mode": True})
    monkeypatch.setattr(colocate, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"grpo.policy: colocate needs packages .*: pip install"):
        ColocatePolicy(None, {})


def test_the_dtype_is_that_of_the_trainers_computation() -> None:
    model = torch.nn.Linear(1, 1, dtype=torch.float32)
    assert dtype_of(model, SimpleNamespace(bf16=False, fp16=False)) == "float32"
    assert dtype_of(model, SimpleNamespace(bf16=True, fp16=False)) == "bfloat16"
    assert dtype_of(model, SimpleNamespace(bf16=False, fp16=True)) == "float16"
    assert dtype_of(model.to(torch.bfloat16), SimpleNamespace(bf16=False, fp16=False)) == "bfloat16"


@pytest.mark.parametrize("made_group", [False, True])
def test_a_process_group_that_was_there_before_vllm_stays(made_group: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's shutdown destroys the group of all processes, in which the run's last files are still to be written."""
    import vllm.v1.engine.core as core
    from vllm.distributed import parallel_state

    cleaned: list[str] = []
    monkeypatch.setattr(core, "cleanup_dist_env_and_memory", lambda: cleaned.append("all"))
    monkeypatch.setattr(parallel_state, "destroy_model_parallel", lambda: cleaned.append("vLLM's groups"))
    engine_core = SimpleNamespace(shutdown=lambda: core.cleanup_dist_env_and_memory())
    policy = ColocatePolicy(None, {})
    policy._llm = SimpleNamespace(llm_engine=SimpleNamespace(engine_core=engine_core))
    policy._made_group = made_group
    policy.release()
    assert cleaned == (["all"] if made_group else ["vLLM's groups"])


class Generation:
    """TRL's VLLMGeneration with sleep mode, as far as a rollout uses it; notes what is done."""

    def __init__(self, *, asleep: bool) -> None:
        self.done: list[str] = []
        self.enable_sleep_mode, self._llm_weights_sleeping = True, asleep
        self.llm = self

    def sync_weights(self) -> None:
        self.done.append("sync")
        self._llm_weights_sleeping = False

    def wake_up(self, tags: list[str]) -> None:
        self.done += [f"wake {tag}" for tag in tags]

    def sleep(self, level: int) -> None:
        self.done.append(f"sleep {level}")


@pytest.mark.parametrize("asleep", [False, True])
def test_sleep_mode(asleep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scripted vLLM, since sleep mode needs a GPU: TRL has woken and copied the weights, or has not, being the same
    step; the cache is woken for the rollout, and both sleep after it, also after an error."""
    policy, generation = ColocatePolicy(None, {}), Generation(asleep=asleep)

    class Serving:
        def serving(self) -> Any:
            generation.done.append("serve")
            return pytest.MonkeyPatch.context()

    monkeypatch.setattr(policy, "_engine", Serving())
    trainer = SimpleNamespace(vllm_generation=generation)
    with pytest.raises(KeyError), policy.generating(trainer):
        raise KeyError
    assert generation.done == [*(["sync"] if asleep else []), "wake kv_cache", "serve", "sleep 2"]
    assert generation._llm_weights_sleeping
