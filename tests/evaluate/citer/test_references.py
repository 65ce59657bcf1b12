"""References: the task's solution, or the teacher's right answer; and who would write each of its tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from relay_core import ConfigurationError, RelaySettings, ScriptedEngine, engine_from_spec
from relay_core.engines.transformers import TransformersEngine
from relay_core.evaluate.citer.references import References, by_student, unusable
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem, Task, task_from_spec


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[TransformersEngine, TransformersEngine]]:
    engines = tuple(engine_from_spec(f"bundled:{name}") for name in ("student-base", "teacher"))
    yield engines  # type: ignore[misc]
    for engine in engines:
        asyncio.run(engine.aclose())


@dataclass(frozen=True, kw_only=True)
class Solved(Problem):
    solution: str = ""


@pytest.fixture(scope="module")
def task() -> Task:
    return task_from_spec("bundled")


def source(pair, task: Task, folder: Path) -> References:
    return References(*pair, task, RelaySettings(max_tokens=300), Journal(folder / "references.jsonl"))


async def test_each_token_of_a_solution_is_compared_with_what_both_models_would_write(
    pair, task: Task, tmp_path: Path
) -> None:
    student, _ = pair
    p = next(p for p in task.problems("dev", 40) if p.group == "medium")
    reference = await source(pair, task, tmp_path).to(p)
    text = student.tokenizer.decode(reference.ids)
    assert text == p.solution and reference.has_end  # type: ignore[attr-defined]
    own, reading = await by_student(student, reference)
    assert len(own) == len(reference.ids) == len(reference.by_teacher) == len(reading.inputs)
    assert own[-1] and reference.by_teacher[-1], "both end there"
    begin, end = p.products[0]  # type: ignore[attr-defined]
    texts = [student.tokenizer.decode(reference.ids[:i]) for i in range(len(reference.ids) + 1)]
    product = [i for i in range(len(reference.ids)) if begin <= len(texts[i]) < end]
    assert all(reference.by_teacher[i] for i in product), "the teacher knows the product"
    assert not all(own[i] for i in product), "which the student was never taught"
    assert sum(own) > 0.8 * len(own)


async def test_without_a_right_solution_the_teacher_answers_and_nothing_is_sampled_twice(
    pair, task: Task, tmp_path: Path
) -> None:
    easy = next(p for p in task.problems("dev", 40) if p.group == "easy")
    plain = Problem(id="plain", messages=easy.messages, answer=easy.answer)
    wrong = Solved(id="wrong", messages=easy.messages, answer=easy.answer, solution="\\boxed{0}")
    unsolved = replace(plain, id="unsolved", answer="never")
    references = source(pair, task, tmp_path)
    first = [await references.to(p) for p in (plain, wrong, unsolved)]
    assert first[0].ids == first[1].ids and all(first[0].by_teacher)
    assert task.grade(pair[0].tokenizer.decode(first[0].ids), easy)
    assert first[2].left_out and not first[2].ids
    again = source((pair[0], pair[1]), task, tmp_path)
    again._found = None  # type: ignore[assignment, method-assign]
    kept = [await again.to(p) for p in (plain, wrong, unsolved)]
    assert [json.dumps(asdict(r)) for r in kept] == [json.dumps(asdict(r)) for r in first]
    assert references.key(plain) != references.key(replace(plain, answer="other"))


def test_engines_that_cannot_do_it_are_refused(pair, task: Task, tmp_path: Path) -> None:
    for engines in ((ScriptedEngine("x"), pair[1]), (pair[0], ScriptedEngine("x"))):
        with pytest.raises(ConfigurationError, match=r"cannot: write a (student|teacher) in this process"):
            source(engines, task, tmp_path)
    assert "too few references (a, b)" in str(unusable(task, ["b", "a", "b"]))
