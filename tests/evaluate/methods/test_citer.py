"""The method `citer`: a head on the untrained student, one teacher token at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from relay_core import ConfigurationError, engine_from_spec
from relay_core.engines.transformers.head import FEATURES, Head, Layer
from relay_core.evaluate.methods import Models, Question, method_from_spec
from relay_core.evaluate.task import task_from_spec
from relay_core.settings import RelaySettings


async def test_the_teacher_writes_one_token_wherever_the_head_says(tmp_path: Path) -> None:
    base = engine_from_spec("bundled:student-base", role="student")
    models = Models(student="bundled", teacher="bundled", base=base, settings=RelaySettings(max_tokens=60, max_calls=1))
    try:
        plain = await base.plain()  # type: ignore[attr-defined]
        size = plain.model.config.hidden_size + len(FEATURES)
        layer, zeros = Layer(torch.zeros(3, size), torch.ones(3)), torch.zeros(size)
        facts = {"model_type": "qwen3", "hidden_size": size - len(FEATURES), "vocabulary_size": 998}
        folder = tmp_path / "a, b"  # half a probability of a wrong token everywhere
        Head(torch.zeros(3), torch.zeros(1), zeros, zeros + 1, facts, layer=layer).save(folder)
        problem = task_from_spec("bundled").problems("test", 1)[0]
        question = Question(problem=problem, sample=0, seed=0, settings={})
        always, never = (method_from_spec(f"citer:{folder},{bound}", models) for bound in ("0.4", "0.6"))
        by_teacher, by_student = await always.answer(question, {}), await never.answer(question, {})
        assert (always.label, always.curve, list(always.models)) == ("CITER 0.4", "CITER", [base, models.teacher])
        assert by_teacher.usage.calls == by_teacher.usage.teacher_tokens == 60, "the limit of calls is lifted"
        assert by_student.usage.calls == 0 and by_student.usage.student_tokens == 60
        digest = always.decisive(question)
        assert digest != never.decisive(question)
        Head(torch.ones(3), torch.zeros(1), zeros, zeros + 1, facts, layer=layer).save(folder)
        assert always.decisive(question) != digest, "another head in the same folder"
    finally:
        await models.aclose()
        await base.aclose()


@pytest.mark.parametrize("spec", ["citer", "citer:0.5", "citer:x", "citer:x,1.5", "citer:x,y", "citer: ,0.5"])
def test_what_is_no_bound_of_a_head_is_refused(spec: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write citer:FOLDER,BOUND .*evaluate.citer train"):
        method_from_spec(spec, Models(student="bundled", teacher="bundled"))
