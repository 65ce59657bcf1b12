"""Two models are the same only if their weights are."""

import os
import shutil
from types import SimpleNamespace

import pytest

from relay_core import ScriptedEngine, TransformersEngine, bundled, engine_from_spec
from relay_core.evaluate import identity as module
from relay_core.evaluate.evaluator import evaluate
from relay_core.evaluate.identity import identity


def engine(folder):
    return SimpleNamespace(spec=f"transformers:{folder}")


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_other_weights_in_the_same_folder_are_another_model(tmp_path, monkeypatch, size):
    monkeypatch.setattr(module, "_PIECE_BYTES", 1 << 12)
    weights = bytearray(os.urandom(size))
    (tmp_path / "model.safetensors").write_bytes(weights)
    before = identity(engine(tmp_path))
    assert before.startswith(f"transformers:{tmp_path}#") and identity(engine(tmp_path)) == before
    shutil.copytree(tmp_path, tmp_path / "copy")  # the digest is of the content
    assert identity(engine(tmp_path / "copy")).rpartition("#")[2] == before.rpartition("#")[2]
    for place in (0, size - 1):
        weights[place] ^= 1
        (tmp_path / "model.safetensors").write_bytes(weights)
        os.utime(tmp_path / "model.safetensors", ns=(place, place))  # a clock may be coarse
        after = identity(engine(tmp_path))
        assert after != before
        before = after


def test_a_model_without_a_folder_is_its_spec():
    for spec in (
        "transformers:Qwen/Qwen3-0.6B",
        "openai:Qwen3-8B@http://localhost:8000/v1",
        "transformers:Qwen3ForCausalLM",
    ):
        assert identity(SimpleNamespace(spec=spec)) == spec
    assert identity(ScriptedEngine([])) == ScriptedEngine([]).spec
    assert identity(engine_from_spec("bundled:student-base")).startswith("bundled:student-base#")
    assert identity(TransformersEngine(bundled.path("student-base"))).endswith(
        identity(engine_from_spec("bundled:student-base")).rpartition("#")[2]
    )


def test_a_student_that_was_trained_anew_is_asked_again(tmp_path):
    student = tmp_path / "student"
    shutil.copytree(bundled.path("student-base"), student)
    options = {"limit": 2, "student": str(student), "teacher": "bundled", "out": tmp_path / "out"}
    tried = evaluate(["bundled"], ["relay"], **options)
    assert evaluate(["bundled"], ["relay"], **options).records == tried.records
    assert not any(record.outcome.calls for record in tried.records)
    shutil.copy(bundled.path("student-relay") / "model.safetensors", student)
    again = evaluate(["bundled"], ["relay"], **options)
    assert sum(bool(record.outcome.calls) for record in again.records) == 1
