"""A head fitted to the bundled student: one that is worth it, and one that is not."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest

from relay_core import ConfigurationError, RelaySettings
from relay_core.engines.spec import engine_from_spec
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.transformers.head import load_head
from relay_core.evaluate.objections import Objections, Objector
from relay_core.evaluate.prompts import read_prompts
from relay_core.evaluate.tune_head import HeadTuner


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[TransformersEngine, TransformersEngine]]:
    import asyncio

    engines = tuple(engine_from_spec(f"bundled:{name}") for name in ("student-base", "teacher"))
    yield engines  # type: ignore[misc]
    for engine in engines:
        asyncio.run(engine.aclose())


class AgainstDigits(Objector):
    """Objects to the student's digits, whatever the teacher says: its hidden state knows that a number is due."""

    async def to(self, problem) -> Objections:
        o = await super().to(problem)
        texts = [self._student.tokenizer.decode([i]) for i in o.ids]
        return replace(o, nats=[9.0 if text.strip().isdigit() else 0.0 for text in texts])


def tuner(pair, folder, kind=Objector, **options) -> HeadTuner:
    student, teacher = pair
    settings = RelaySettings(max_tokens=60)
    return HeadTuner(
        student=student, teacher=teacher, objector=kind(student, teacher, settings, None), folder=folder / "head",
        stage=lambda label, total: nullcontext(lambda: None), **options,
    )  # fmt: skip


async def test_the_head_beats_the_bare_probability_where_it_knows_more(pair, tmp_path, monkeypatch) -> None:
    problems = read_prompts("bundled", sample=24).problems
    fitted = await tuner(pair, tmp_path, AgainstDigits).fit(problems)
    assert fitted.is_better and fitted.aucs["both"] > 0.98 > 0.9 > fitted.aucs["bare"]
    assert "The head is better than the student's bare probability" in fitted.text()
    assert len(fitted.held_out) == 12 and fitted.left_out == 0 and fitted.wrong < fitted.tokens
    value = json.loads(json.dumps(fitted.as_dict()))
    assert value["is_better"] is True and set(value["auc"]) == {"bare", "features", "hidden", "both"}
    head = load_head(fitted.folder)
    assert head.student["spec"] == pair[0].spec and head.card["teacher"] == pair[1].spec
    await pair[0].check_head(fitted.folder)
    with pytest.raises(ConfigurationError, match="was fitted to a student with"):
        await pair[1].check_head(fitted.folder)

    # a second run with the same answers takes the head that is there; another margin fits another one
    monkeypatch.setattr(HeadTuner, "_fitted", None)
    again = await tuner(pair, tmp_path, AgainstDigits).fit(problems)
    assert replace(again, held_out=()) == replace(fitted, held_out=())
    assert [p.id for p in again.held_out] == [p.id for p in fitted.held_out]
    with pytest.raises(TypeError):
        await tuner(pair, tmp_path, AgainstDigits, margin=2.0).fit(problems)


async def test_it_says_where_the_head_is_no_better(pair, tmp_path) -> None:
    """The bundled student knows where it is wrong: 1 - top-1 probability finds nearly all wrong tokens."""
    fitted = await tuner(pair, tmp_path).fit(read_prompts("bundled", sample=24).problems)
    assert not fitted.is_better and fitted.aucs["bare"] > 0.95
    assert "The head is no better than the student's bare probability" in fitted.text()
    assert all(f"{fitted.aucs[name]:.3f}" in fitted.text() for name in ("bare", "features", "hidden", "both"))


async def test_what_cannot_be_fitted_is_said(pair, tmp_path) -> None:
    problems = read_prompts("bundled", sample=8).problems
    with pytest.raises(ConfigurationError, match="7 different prompts with an answer are too few"):
        await tuner(pair, tmp_path).fit(problems[:7])
    with pytest.raises(ConfigurationError, match=r"0 of \d+ tokens are wrong.*write another --margin \(it is 99\)"):
        await tuner(pair, tmp_path, margin=99.0).fit(problems)
    assert not (tmp_path / "head").exists()
