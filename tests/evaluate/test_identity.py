"""Two models are the same only if their weights are."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest

from relay_core import ScriptedEngine, TransformersEngine, bundled, engine_from_spec
from relay_core.engines.in_turn import in_turn
from relay_core.engines.wrapped import Wrapped
from relay_core.evaluate import identity as module
from relay_core.evaluate.evaluator import evaluate
from relay_core.evaluate.identity import identity


def engine(folder):
    return SimpleNamespace(spec=f"transformers:{folder}", deciding=())


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
        assert identity(SimpleNamespace(spec=spec, deciding=())) == spec
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


def test_another_precision_and_another_base_are_another_model(tmp_path):
    base, spec = bundled.path("student-base"), f"transformers:{bundled.path('student-base')}"
    plain, exact = engine_from_spec(spec), engine_from_spec(f"{spec}?dtype=float32&max_requests=8")
    assert identity(exact) == f"{identity(plain)}?dtype=float32" and module.shown(exact) == f"{spec}?dtype=float32"
    assert identity(engine_from_spec(f"{spec}?max_requests=8")) == identity(plain)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "base_model_name_or_path": "a/b"})
    )
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    bases = [shutil.copytree(base, tmp_path / name) for name in ("one", "two")]
    alike = [identity(engine_from_spec(f"{adapter}?base={base}")).rpartition("#") for base in bases]
    assert alike[0][2] == alike[1][2] and alike[0][0].endswith(f"?base={bases[0]}")
    shutil.copy(bundled.path("student-relay") / "model.safetensors", bases[1])
    assert identity(engine_from_spec(f"{adapter}?base={bases[1]}")).rpartition("#")[2] != alike[1][2]


def test_the_way_to_an_endpoint_and_the_arguments_of_vllm_decide_too():
    server = "openai:Qwen3-8B@http://localhost:8000/v1"
    assert identity(engine_from_spec(server, mode="chat")) == f"{server}?mode=chat"
    made = Wrapped(engine_from_spec(f"vllm:{bundled.path('teacher')}?dtype=float32&enforce_eager=true"))
    assert identity(made).endswith("?dtype=float32")
    pair = in_turn([engine_from_spec(server, mode=mode) for mode in ("auto", "chat")])
    assert identity(pair) == f"{server}, {server}?mode=chat"


def test_answers_of_another_precision_are_asked_again(tmp_path):
    options = {"limit": 1, "teacher": "bundled", "out": tmp_path}
    folder = str(bundled.path("student-base"))
    for number, spec in enumerate((folder, f"{folder}?dtype=float32"), 1):
        evaluate(["bundled"], ["student"], student=spec, base=spec, **options)
        evaluate(["bundled"], ["student"], student=spec, base=spec, **options)
        assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == number
    assert json.loads((tmp_path / "run.json").read_text())["student"].endswith("?dtype=float32")
