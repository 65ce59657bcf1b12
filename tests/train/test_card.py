"""The model card: what it says, what the hub reads in its head, and that its folder loads as before."""

import re
import shutil

import pytest
import yaml

from relay_core.train import card
from relay_core.train.base_model import base_model
from relay_core.train.recipe import build, load

MEASURED = {
    "seed": 0, "problems": 300, "recovered": 1.05,
    "methods": {
        "student-base": {"accuracy": 0.4, "bands": {"easy": 1.0, "hard": 0.0}, "call_ratio": 0.0, "calls": 0.0},
        "relay": {"accuracy": 0.9, "bands": {"easy": 1.0, "hard": 0.1}, "call_ratio": 0.0201, "calls": 0.5},
        "teacher": {"accuracy": 0.877, "bands": {"easy": 0.9, "hard": 0.0}, "call_ratio": 1.0, "calls": 0.0},
    },
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, model_folder):
    shutil.copytree(model_folder, tmp_path / "student-relay")
    return tmp_path / "student-relay"


def head_of(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card_of_a_measured_run(folder, tmp_path):
    (tmp_path / "training.png").write_bytes(b"\x89PNG")
    recipe = load("bundled", {"seed": 3})
    card.write(folder, recipe, measured=MEASURED, rollouts=[{"accuracy": 0.5}], plot=tmp_path / "training.png")
    text = (folder / "README.md").read_text()
    assert head_of(text) == {
        "license": "apache-2.0", "library_name": "transformers", "pipeline_tag": "text-generation",
        "tags": ["relay-decoding", "relayllm", "grpo", "trl"],
    }  # fmt: skip
    assert "|  | accuracy | easy | hard | call ratio | calls per answer |\n" in text
    assert "| relay | 0.900 | 1.000 | 0.100 | 2.01% | 0.50 |" in text and "recovers 105% of the gap" in text
    assert "The licence of bundled:student-base is apache-2.0." in text
    assert "64 rollouts of 32 problems with 8 answers each" in text and "at random places" in text
    assert "](training.png)" in text and (folder / "training.png").read_bytes() == b"\x89PNG"
    assert build(yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])) == recipe
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_the_hubs_own_reader_reads_the_head(tmp_path):
    from huggingface_hub import ModelCard

    base_folder = tmp_path / "base"
    base_folder.mkdir()
    (base_folder / "README.md").write_text("---\nlicense: other\nlicense_name: gemma\nbase_model: owner/base\n---\n")
    recipe = build({"student": str(base_folder), "teacher": "openai:Qwen/Qwen3-8B@http://10.1.2.3:8000/v1"})
    text = card.card(recipe, base_model(recipe.student), name="student-relay", is_adapter=True)
    data = ModelCard(text).data
    assert (data.license, data.license_name, data.base_model) == ("other", "gemma", "owner/base")
    assert (data.library_name, data.base_model_relation) == ("peft", "adapter")
    assert "The licence of base is gemma." in text
    assert "10.1.2.3" not in text and str(tmp_path) not in text and "vllm serve" not in text
    assert "`./student-relay?base=PATH_OR_ID`" in text
    named = build({"student": str(base_folder), "lora": {"r": 8, "merge": False, "base": "owner/published"}})
    text = card.card(named, base_model(named.student), name="student-relay", is_adapter=True)
    assert ModelCard(text).data.base_model == "owner/published"


def test_an_unknown_licence_is_said(tmp_path):
    (tmp_path / "base").mkdir()
    recipe = build({"student": str(tmp_path / "base")})
    text = card.card(recipe, base_model(recipe.student), name="student-relay", is_adapter=False)
    assert head_of(text)["license"] == "unknown" and "is unknown: look it up before you publish" in text


def test_without_a_measurement_the_last_rollout_is_shown(folder):
    rows = [{"step": 0, "accuracy": 0.1}, {"step": 2, "accuracy": 0.25, "call_ratio": 0.5}]
    card.write(folder, load("bundled"), rollouts=rows, plot=folder / "nowhere.png")
    text = (folder / "README.md").read_text()
    assert "| accuracy | call_ratio |\n| --- | --- |\n| 0.250 | 0.500 |" in text
    assert "training.png" not in text
    card.write(folder, load("bundled"))
    assert "## Figures" not in (folder / "README.md").read_text()


def test_an_adapter_is_told_by_its_rank_and_the_hub_id_of_its_base():
    recipe = load("bundled", {"lora.r": 8, "lora.merge": False, "lora.base": "owner/base"})
    text = card.card(recipe, base_model(recipe.student), name="student-relay", is_adapter=True)
    assert head_of(text)["base_model"] == "owner/base" and "trained a LoRA adapter of rank 8 on it" in text


def test_a_base_in_a_folder_has_the_name_under_which_it_is_published(folder, tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "config.json").write_text('{"license": "apache-2.0"}')
    lora = {"r": 8, "merge": False, "base": "owner/published"}
    card.write(folder, build({"student": str(tmp_path / "copy"), "lora": lora}))
    text = (folder / "README.md").read_text()
    assert "The licence of owner/published is apache-2.0." in text and "warm-up trained owner/published on" in text
    card.write(folder, build({"student": str(tmp_path / "copy"), "lora": {**lora, "base": str(tmp_path)}}))
    assert "The licence of copy is apache-2.0." in (folder / "README.md").read_text()


@pytest.mark.parametrize("source", ["random", "guided", "told", "answers"])
def test_each_warm_up_is_told_in_a_sentence(source):
    recipe = load("bundled", {"warmup.source": source})
    text = card.card(recipe, base_model(recipe.student), name="student-relay", is_adapter=False)
    training = text.partition("## How it was trained\n\n")[2].partition("\n\n")[0]
    assert training.count(". ") == 1 and training.startswith("Supervised warm-up trained bundled:student-base")


def test_plain_grpo_has_a_card_without_a_teacher():
    recipe = load("bundled", {"grpo.calls": False})
    text = card.card(recipe, base_model(recipe.student), name="student-grpo", is_adapter=False)
    before_recipe = text.partition("## Recipe")[0]
    assert "GRPO (TRL) trained bundled:student-base for 64 rollouts" in text
    assert "without calls" in text and "bundled:teacher" not in before_recipe and "ChatRelay" not in text


def test_the_lines_of_use_run_in_the_folder_that_holds_the_card(folder, monkeypatch, capsys):
    """ChatRelay, RelayLLM and Relay load a folder with a card and a plot, with the limits of the recipe."""
    recipe = load("bundled")
    (folder / "training.png").write_bytes(b"\x89PNG")
    card.write(folder, recipe, measured=MEASURED)
    core, plugins = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert "langchain" not in core and "ChatRelay" in plugins
    monkeypatch.chdir(folder.parent)
    names = {}
    exec(compile(core, "README.md", "exec"), names)
    assert capsys.readouterr().out.endswith("\n")
    exec(compile(plugins, "README.md", "exec"), names)
    assert names["chat"].max_call_tokens == names["llm"].max_call_tokens == recipe.relay["max_call_tokens"]
    assert isinstance(names["chat"].invoke("6 + 7?").text, str)
    assert isinstance(names["llm"].complete("6 + 7?").text, str)


def test_transformers_and_our_checks_take_the_folder(folder, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from relay_core.engines.model_folder import check_folder

    (tmp_path / "training.png").write_bytes(b"\x89PNG")
    card.write(folder, load("bundled"), measured=MEASURED, plot=tmp_path / "training.png")
    check_folder(folder)
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    assert len(AutoTokenizer.from_pretrained(folder)) > 0
