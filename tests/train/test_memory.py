"""Estimates against published sizes, against the arithmetic of optimizers, and against a run of a small model."""

from pathlib import Path

import pytest
from transformers import Qwen3Config

from benchmarks import training_memory
from relay_core.engines.transformers import memory as free_memory
from relay_core.engines.transformers.footprint import GIB, token_bytes
from relay_core.train import memory
from relay_core.train.recipe import build, load
from relay_core.train.sections import Lora


def qwen3(hidden, layers, intermediate, heads, *, tied=True):
    """A published config of Qwen3."""
    return Qwen3Config(
        vocab_size=151936, hidden_size=hidden, num_hidden_layers=layers, intermediate_size=intermediate,
        num_attention_heads=heads, num_key_value_heads=8, head_dim=128, tie_word_embeddings=tied,
        max_position_embeddings=40960,
    )  # fmt: skip


QWEN3 = {
    "0.6B": (qwen3(1024, 28, 3072, 16), 596_049_920, 0.93),
    "1.7B": (qwen3(2048, 28, 6144, 16), 1_720_574_976, 0.93),
    "8B": (qwen3(4096, 36, 12288, 32, tied=False), 8_190_735_360, 1.19),
}


@pytest.mark.parametrize("size", QWEN3)
def test_published_sizes(size):
    config, parameters, cache_gib = QWEN3[size]
    assert memory.parameter_count(config) == parameters
    assert token_bytes(config, 2) * 8704 / GIB == pytest.approx(cache_gib, abs=0.01)


@pytest.mark.parametrize(("size", "static", "training"), [("0.6B", 8.9, (13, 17)), ("1.7B", 25.6, (30, 37))])
def test_qwen3_in_training_on_one_card(size, static, training):
    """The table of the issue: float32 weights, gradients and AdamW, a bfloat16 reference, activations and head."""
    recipe = load(f"qwen3-{size.lower()}", {"grpo.tokens_per_forward": 2 * 8704, "task": "bundled"})
    student = memory.Student(QWEN3[size][0], recipe, "cuda", 1, 512)
    assert sum(student.state.values()) / GIB == pytest.approx(static, abs=0.1)
    assert student.reference()["reference"] == 2 * QWEN3[size][1]
    grpo_pass = student.grpo_pass()
    assert list(grpo_pass) == ["pass of 2 x 8704 tokens"]
    total = sum((student.state | student.reference() | grpo_pass).values()) / GIB
    assert training[0] < total < training[1]


def test_an_adapter_needs_gradients_of_itself_alone_and_no_reference():
    config = QWEN3["0.6B"][0]
    rows = 28 * 64 * ((1024 + 2048) + 2 * (1024 + 1024) + (2048 + 1024) + 3 * (1024 + 3072))
    assert memory.adapter_count(config, Lora(r=64)) == rows
    assert memory.adapter_count(config, Lora(r=64, target_modules=["q_proj"])) == 28 * 64 * (1024 + 2048)
    recipe = build({"lora": {"r": 64}, "grpo": {"trainer": {"beta": 0.01}}})
    student = memory.Student(config, recipe, "cuda", 1, 512)
    assert student.state == {
        "weights": 4 * (596_049_920 + rows), "gradients": 4 * rows, "optimizer": 8 * rows
    }  # fmt: skip
    assert student.reference() == {}
    halved = build({"lora": {"r": 64, "dtype": "bfloat16"}})
    assert memory.Student(config, halved, "cuda", 1, 512).state["weights"] == 2 * 596_049_920 + 4 * rows


@pytest.mark.parametrize(("name", "size"), [("adamw_torch_fused", 8), ("paged_adamw_8bit", 2), ("adafactor", 0)])
def test_the_optimizers_state(name, size):
    assert memory.optimizer_bytes(name) == size


def test_what_accelerate_divides(monkeypatch):
    student = memory.Student(QWEN3["0.6B"][0], load("bundled"), "cuda", 8, 512)
    whole = student.state["weights"]
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert memory.is_sharded()
    divided = memory.Student(QWEN3["0.6B"][0], load("bundled"), "cuda", 8, 512)
    assert divided.state["weights"] == whole // 8
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    assert not memory.is_sharded()


def test_processes_on_a_cpu_share_its_memory(model_folder, monkeypatch):
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: 8 * GIB)
    monkeypatch.setattr(free_memory, "holders", type(free_memory.holders)())
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)  # accelerate sets it for good
    recipe = build({"student": str(model_folder), "teacher": str(model_folder)})
    one, two = (memory.estimate(recipe, world=world, prompt_tokens=40) for world in (1, 2))
    assert [phase.name for phase in one.phases] == ["warm-up", "rollout", "update"]
    assert two.phases[1].parts["weights"] == 2 * one.phases[1].parts["weights"]
    assert {"cache", "teacher", "teacher's cache"} <= set(one.phases[1].parts)
    assert not one.too_large and not one.unknown
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # two machines
    apart = memory.estimate(recipe, world=2, prompt_tokens=40)
    assert apart.phases[1].parts["weights"] == one.phases[1].parts["weights"]
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: 2**20)
    assert memory.estimate(recipe, prompt_tokens=40).too_large


def test_what_is_not_on_this_machine_is_unknown(monkeypatch, model_folder):
    recipe = build({"student": str(model_folder), "teacher": "nobody/has-this-model"})
    assert memory.estimate(recipe, prompt_tokens=40).unknown == ("teacher",)


def test_teachers_that_take_turns_are_all_there(model_folder, monkeypatch):
    monkeypatch.setattr(free_memory, "holders", type(free_memory.holders)())
    one, two = (
        memory.estimate(build({"student": str(model_folder), "teacher": ["bundled:teacher"] * n}), prompt_tokens=40)
        for n in (1, 2)
    )
    assert two.phases[1].parts["teacher"] == 2 * one.phases[1].parts["teacher"] > 0


@pytest.mark.slow
def test_the_estimate_of_a_small_run_on_a_cpu():
    """benchmarks/training_memory.py compares more shapes; resident memory in a test is not measured as exactly."""
    shape = training_memory.SHAPES[0]
    used = training_memory.measure(shape, "warmup") - training_memory.measure(training_memory.TINY, "warmup")
    assert training_memory.estimated(shape, "warmup") == pytest.approx(used, rel=0.3)


def test_a_config_that_is_not_there(tmp_path):
    assert memory.config_of(str(tmp_path / "nowhere")) is None
    assert Path(tmp_path).exists()
