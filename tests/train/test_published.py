"""Nothing of a user's machine, network or keys stands in what a model card shows of a recipe."""

import pytest
import yaml

from relay_core.train.published import public_spec, published
from relay_core.train.recipe import build


@pytest.mark.parametrize(
    ("spec", "public"),
    [
        ("bundled", "bundled"),
        ("bundled:teacher", "bundled:teacher"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("transformers:Qwen/Qwen3-0.6B?device=cuda:1", "Qwen/Qwen3-0.6B"),
        ("vllm:Qwen/Qwen3-8B?max_model_len=4096", "vllm:Qwen/Qwen3-8B"),
        ("/home/ada/secret-project/qwen", "./qwen"),
        ("~/models/qwen", "./qwen"),
        ("vllm:../models/qwen", "vllm:./qwen"),
        ("openai:Qwen/Qwen3-8B@http://10.1.2.3:8000/v1", "openai:Qwen/Qwen3-8B@http://localhost:8000/v1"),
        ("openai:/srv/models/qwen@http://inner.host/v1", "openai:qwen@http://localhost:8000/v1"),
    ],
)
def test_a_spec_for_the_public(spec, public):
    assert public_spec(spec) == public


def test_a_folder_of_two_parts_is_told_from_a_hub_id(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_spec("models/mine") == "./mine"


def test_a_recipe_for_the_public(tmp_path):
    (tmp_path / "problems.jsonl").write_text('{"q": "1 + 1?", "a": "2"}\n')
    trainer = {"hub_token": "hf_abc", "beta": 0.0}
    recipe = build({
        "student": "/home/ada/base",
        "teacher": ["openai:big@http://10.1.2.3:8000/v1", "openai:big@http://10.1.2.4:8000/v1"],
        "task": {"path": str(tmp_path / "problems.jsonl"), "question": "q", "answer": "a", "grader": "exact"},
        "relay": {"max_tokens": 64},
        "lora": {"r": 4, "base": "/home/ada/base"},
        "grpo": {"policy": "server", "policy_url": "http://10.1.2.5:8000", "trainer": trainer},
    })  # fmt: skip
    shown = yaml.safe_dump(published(recipe.as_dict()))
    assert not [word for word in ("ada", "10.1.2", "hf_abc", "/home", str(tmp_path)) if word in shown]
    values = yaml.safe_load(shown)
    assert values["relay"] == {"max_tokens": 64} and values["grpo"]["trainer"] == {"beta": 0.0}
    assert values["task"] == {"path": "problems.jsonl", "question": "q", "answer": "a", "grader": "exact"}
    assert values["lora"]["r"] == 4 and values["lora"]["base"] == "base"
    assert recipe.grpo.trainer["hub_token"] == "hf_abc"  # the recipe itself is as it was
