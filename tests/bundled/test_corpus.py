"""The corpus: what is learnt, by whom, and that a killed run goes on where it was."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path
from typing import Any

import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from relay_core import bundled  # noqa: E402
from relay_core.bundled import corpus, examples, pretrain, task  # noqa: E402
from relay_core.bundled.pretrain_recipe import PretrainRecipe  # noqa: E402


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK", 32)


@pytest.fixture(scope="module")
def words() -> Any:
    return transformers.AutoTokenizer.from_pretrained(bundled.path("student-base"))


def test_only_the_student_does_not_learn_products(words: Any) -> None:
    for p in task.problems(30, seed=1):
        teacher = examples.problem_example(words, p, "teacher", random.Random(0), history=0)
        student = examples.problem_example(words, p, "student", random.Random(0), history=0)
        assert teacher.ids == student.ids
        answer = [i for i in teacher.labels if i != examples.IGNORED]
        assert words.decode(answer[:-1]) == p.solution
        assert answer[-1] == words.eos_token_id
        changed = [a != b for a, b in zip(teacher.labels, student.labels, strict=True)]
        assert sum(changed) <= sum(end - begin for begin, end in p.products)
        assert any(changed) == (p.group != "easy")


def test_an_earlier_turn_has_no_loss(words: Any) -> None:
    p = task.problems(1, form="system", seed=3)[0]
    e = examples.problem_example(words, p, "teacher", random.Random(0), history=1)
    assert words.decode(e.ids).count("<|im_start|>user") == 2
    assert words.decode([i for i in e.labels if i != examples.IGNORED]) == p.solution + "<|im_end|>"


def test_notes_have_no_loss(words: Any) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        (p,) = task.problems(1, seed=seed, group="easy")
        plain = examples.problem_example(words, p, "student", rng, history=0)
        noted = examples.with_notes(words, plain, rng)
        assert [i for i in noted.labels if i != examples.IGNORED] == [i for i in plain.labels if i != examples.IGNORED]
        text = words.decode(noted.ids)
        notes = re.findall(r"<([a-z]{1,5})>\d{0,2}</\1>", text)
        assert 1 <= len(notes) <= 3 and "call" not in notes
        assert re.sub(r"<([a-z]{1,5})>\d{0,2}</\1>", "", text) == words.decode(plain.ids)


def test_batches_resume_from_any_position(words: Any) -> None:
    whole = list(itertools.islice(corpus.batches(words, "student", 0, 1500), 12))
    for cut in (4, 9):
        start = whole[cut][1]
        rest = itertools.islice(corpus.batches(words, "student", 0, 1500, start), 11 - cut)
        assert whole[cut + 1 :] == list(rest)


def test_a_killed_run_ends_with_the_same_weights(words: Any, tmp_path: Path) -> None:
    recipe = PretrainRecipe("student", 32, 1, 3, 3, 32, 6, 1e-3, 1e-3, 1500, warmup=2)

    def stop(step: int, loss: float, seconds: float) -> None:
        raise KeyboardInterrupt

    def weights(folder: Path, **how: Any) -> Any:
        return pretrain.train(recipe, words, seed=0, folder=folder, **how).state_dict()

    whole = weights(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        weights(tmp_path / "cut", checkpoint_s=0.0, report_every=3, report=stop)
    cut = weights(tmp_path / "cut")
    for name, weight in whole.items():
        torch.testing.assert_close(cut[name], weight)
