"""An adapter in training: saved alone, resumed, with the student that training starts from as the reference model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from relay_core.engines.adapter_folder import WEIGHTS
from relay_core.errors import ConfigurationError
from relay_core.train import models
from relay_core.train.adapter_model import AdapterModel, fresh, resumed
from relay_core.train.sections import Lora

LORA = Lora(r=4, merge=False)


def begun(folder: Path, *, seed: int = 0, trained: float = 0.0) -> AdapterModel:
    """A student with a new adapter; ``trained`` is the standard deviation of random values of its B."""
    model, _ = models.load(str(folder))
    adapter = fresh(model, LORA, source=str(folder), name=str(folder), seed=seed)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name and trained:
                parameter.normal_(std=trained)
    return adapter


def values_of(model: Any, adapter: str = "default") -> dict[str, torch.Tensor]:
    return {n.replace(f".{adapter}.", "."): p.detach() for n, p in model.named_parameters() if f".{adapter}." in n}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_new_adapter_changes_nothing_and_only_it_is_trained(model_folder: Path) -> None:
    ids = torch.arange(1, 9)[None]
    model, _ = models.load(str(model_folder))
    with torch.no_grad():
        assert torch.equal(begun(model_folder)(ids).logits, model(ids).logits)
    trained = [name for name, p in begun(model_folder).named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name and "lm_head" not in name for name in trained)


def test_the_seed_decides_the_initial_weights_and_leaves_torchs_own_state(model_folder: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = values_of(begun(model_folder, seed=1))
    torch.manual_seed(6)
    assert equal(one, values_of(begun(model_folder, seed=1)))
    assert not equal(one, values_of(begun(model_folder, seed=2)))
    torch.set_rng_state(before)
    model, _ = models.load(str(model_folder))
    state = torch.get_rng_state()
    fresh(model, LORA, source="x", name="x", seed=3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("targets", "message"),
    [(["lm_head", "q_proj"], "lm_head, which GRPO cannot train"), (["c_attn"], "no adapter can be built on .*c_attn")],
)
def test_modules_that_cannot_be_trained(model_folder: Path, targets: list[str], message: str) -> None:
    model, _ = models.load(str(model_folder))
    with pytest.raises(ConfigurationError, match=message):
        fresh(model, Lora(r=4, target_modules=targets), source=str(model_folder), name=str(model_folder), seed=0)


def test_an_adapter_is_read_as_it_was_written(model_folder: Path, tmp_path: Path) -> None:
    adapter = begun(model_folder, trained=0.1)
    adapter.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", WEIGHTS, "base_sample.json"}
    model, _ = models.load(str(model_folder))
    again = resumed(model, tmp_path, LORA, source=str(model_folder))
    assert equal(values_of(adapter), values_of(again))
    assert all(p.requires_grad for name, p in again.named_parameters() if "lora_" in name)
    with pytest.raises(ConfigurationError, match=r"has the rank 4, and lora\.r is 8: write 4"):
        resumed(model, tmp_path, Lora(r=8), source=str(model_folder))


def test_the_names_of_its_modules_are_written_in_order(model_folder: Path, tmp_path: Path) -> None:
    begun(model_folder).save_pretrained(tmp_path)
    names = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert names == sorted(names) and len(names) > 4  # seven, which a set has in this order once in 5,000 times


def _trainer(model: Any, tokenizer: Any, out: Path, **values: Any) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    data = [{"prompt": [{"role": "user", "content": f"What is {i} and {i}?"}]} for i in range(8)]
    config = GRPOConfig(
        output_dir=str(out), per_device_train_batch_size=4, num_generations=2, max_completion_length=8, max_steps=4,
        save_steps=2, learning_rate=1e-2, beta=0.5, report_to=[], disable_tqdm=True, bf16=False, seed=0,
        logging_steps=1, gradient_checkpointing=False, use_cpu=True, dataloader_pin_memory=False, **values,
    )  # fmt: skip
    return GRPOTrainer(
        model=model,
        args=config,
        reward_funcs=[lambda completions, **_: [float(i % 2) for i in range(len(completions))]],
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
    )


@pytest.mark.filterwarnings("ignore")
def test_the_reference_is_the_adapter_that_training_starts_from(
    model_folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    warm = begun(model_folder, trained=0.1)
    warm.save_pretrained(tmp_path / "warm")
    model, _ = models.load(str(model_folder))
    student = resumed(model, tmp_path / "warm", LORA, source=str(model_folder))
    trainer = _trainer(student, tokenizer, tmp_path / "run")
    assert equal(values_of(student, "ref"), values_of(warm))
    assert not any(p.requires_grad for name, p in student.named_parameters() if ".ref." in name)
    trainer.train()
    assert equal(values_of(student, "ref"), values_of(warm))  # frozen, while the adapter moved
    assert not equal(values_of(student), values_of(warm))
    logged = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert logged[0] == pytest.approx(0, abs=1e-6)  # of the warm student to itself; of the base, it would not be
    assert max(logged) > 1e-6


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_gives_the_trained_adapter_back(model_folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    warm = begun(model_folder, trained=0.1)
    warm.save_pretrained(tmp_path / "warm")

    def student() -> AdapterModel:
        return resumed(models.load(str(model_folder))[0], tmp_path / "warm", LORA, source=str(model_folder))

    one = student()
    _trainer(one, tokenizer, tmp_path / "run").train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert not list(checkpoint.glob("*/adapter_model.safetensors"))
    halfway = load_file(checkpoint / WEIGHTS)
    two = student()
    trainer = _trainer(two, tokenizer, tmp_path / "again")
    trainer._load_from_checkpoint(str(checkpoint))
    loaded = {f"base_model.model.{n}" if not n.startswith("base_model") else n: v for n, v in values_of(two).items()}
    assert equal(loaded, halfway)
    assert equal(values_of(two, "ref"), values_of(warm))
    assert [n for n, p in two.named_parameters() if p.requires_grad] == [
        n for n, p in one.named_parameters() if p.requires_grad
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_base_is_the_same_after_it_was_merged_for_a_while(model_folder: Path, dtype: str) -> None:
    """peft's own merge and unmerge leave rounding errors in the base, which add up over a run."""
    adapter = begun(model_folder, trained=0.3).to(getattr(torch, dtype))
    before = {name: p.detach().clone() for name, p in adapter.named_parameters()}
    for _ in range(3):
        adapter.merge_adapter()
        assert not equal(before, {name: p.detach() for name, p in adapter.named_parameters()})
        adapter.unmerge_adapter()
    assert equal(before, {name: p.detach() for name, p in adapter.named_parameters()})
    assert [name for name, p in adapter.named_parameters() if p.requires_grad] != []


def test_a_merged_student_computes_the_same(model_folder: Path) -> None:
    ids = torch.arange(1, 9)[None]
    adapter = begun(model_folder, trained=0.3).eval()
    with torch.no_grad():
        expected = adapter(ids).logits
        other = begun(model_folder, trained=0.7)  # as on a process that holds a part of the weights
        assert torch.allclose(other.merged_from(adapter.state_dict())(ids).logits, expected, atol=1e-5)
        assert torch.allclose(adapter.merged()(ids).logits, expected, atol=1e-5)
