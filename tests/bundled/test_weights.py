"""What ships: complete folders, small enough, one vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay_core import bundled
from relay_core.engines import base_sample
from relay_core.engines.adapter_folder import base_of
from relay_core.errors import ConfigurationError

LIMIT_BYTES = 12_000_000
FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors",
)


def built() -> list[Path]:
    return [p.parent for p in sorted(bundled.WEIGHTS.glob("[!.]*/model.safetensors"))]


def test_the_error_for_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(ConfigurationError, match="teacher, student-base, student-warm"):
        bundled.path("nobody")


def test_every_folder_is_complete_and_named() -> None:
    for folder in built():
        assert folder.name in bundled.NAMES
        assert bundled.path(folder.name) == folder
        assert all((folder / name).is_file() for name in FILES)


def test_all_weights_fit_the_limit() -> None:
    assert sum((f / "model.safetensors").stat().st_size for f in built()) <= LIMIT_BYTES


def test_the_adapter_of_a_pretrained_student_is_small_and_names_its_base() -> None:
    folder = bundled.path("smollm2-135m-relay")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 25_000_000
    assert base_of(folder) == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert base_sample.read(folder) and (folder / "README.md").is_file() and not (folder / "model.safetensors").exists()


def test_the_pair_shares_tokenizer_and_template() -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert len({(f / name).read_bytes() for f in built()}) == 1


def test_the_teacher_is_eight_times_the_student() -> None:
    transformers = pytest.importorskip("transformers")

    def parameters(name: str) -> int:
        model = transformers.AutoModelForCausalLM.from_pretrained(bundled.path(name))
        return int(model.num_parameters())

    assert parameters("teacher") >= 8 * parameters("student-base")


def test_the_tokenizer_is_qwens_in_small() -> None:
    transformers = pytest.importorskip("transformers")
    words = transformers.AutoTokenizer.from_pretrained(bundled.path("student-base"))

    def cut(text: str) -> list[str]:
        return [words.decode([i]) for i in words(text, add_special_tokens=False).input_ids]

    assert cut("<call>12</call>") == ["<call", ">", "1", "2", "</", "call", ">"]
    assert cut("47 * 6 = 282.") == ["4", "7", " *", " ", "6", " =", " ", "2", "8", "2", "."]
    assert " <" in cut("a <call>3</call>")
    assert ".</" in cut("b.</call>")
    assert ">\n\n" in cut("</call>\n\nb")[-2]
    for text in ("naïve 数学\n\n\tx", "<|im_start|>user\n"):
        assert words.decode(words(text, add_special_tokens=False).input_ids) == text
    prompt = words.apply_chat_template(
        [{"role": "user", "content": "hi"}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    assert prompt == ("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_the_generation_configs_are_greedy_and_end_at_the_end_token() -> None:
    for folder in built():
        config = json.loads((folder / "generation_config.json").read_text())
        assert config.get("do_sample") is False
        assert not {"temperature", "top_p", "top_k"} & set(config)
