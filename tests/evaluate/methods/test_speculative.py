"""The method `speculative`: the teacher's own answers, at a cost that counts every token."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from relay_core import ConfigurationError, Prices, ScriptedEngine
from relay_core.engines.transformers import TransformersEngine
from relay_core.evaluate.methods import Method, Models, Question, methods_from
from relay_core.evaluate.task import Problem, task_from_spec
from relay_core.settings import RelaySettings
from testing.tiny_transformers import make_model, make_tokenizer


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(task_from_spec("bundled").problems("test", 8))


@pytest.fixture(scope="module")
def bundled() -> Iterator[Models]:
    models = Models(
        student="bundled", teacher="bundled", base="bundled:student-base", settings=RelaySettings(max_tokens=150)
    )
    yield models
    asyncio.run(models.aclose())


def methods(models: Models) -> list[Method]:
    return methods_from(["teacher speculative"], models)


def question(problem: Problem, seed: int = 0, **settings: object) -> Question:
    return Question(problem=problem, sample=0, seed=seed, settings=settings)


async def test_answers_are_the_teachers_and_cost_what_was_verified(bundled: Models, problems: list[Problem]) -> None:
    teacher, speculative = methods(bundled)
    questions = [
        *map(question, problems),
        question(problems[0], max_tokens=7),
        question(problems[1], stop=("=", "First")),
        question(problems[2], stop=(". ",)),
    ]
    own = await asyncio.gather(*[teacher.answer(q, {}) for q in questions])
    answers = await asyncio.gather(*[speculative.answer(q, {}) for q in questions])
    prices = Prices(student_input=1, student_output=2, teacher_input=3, teacher_output=5)
    for a, b in zip(own, answers, strict=True):
        assert (b.text, b.finish_reason) == (a.text, a.finish_reason)
        assert [(p.author, p.text, p.tokens) for p in b.parts] == [("teacher", b.text, b.usage.teacher_tokens)]
        u = b.usage
        assert (u.teacher_tokens, u.teacher_prompt_tokens) == (a.usage.teacher_tokens, a.usage.teacher_prompt_tokens)
        assert u.student_prompt_tokens == u.prompt_tokens == u.teacher_prompt_tokens
        assert (u.call_ratio, u.calls, u.student_tokens) == (1, 0, 0)
        paid = u.student_prompt_tokens + 2 * u.discarded_tokens + 3 * u.teacher_prompt_tokens
        assert u.cost(prices) * 1e6 == pytest.approx(paid + 5 * (u.teacher_tokens + u.wasted_tokens))
    assert {b.finish_reason for b in answers} == {"stop", "length", "stop_string"}
    drafted, wasted = (sum(getattr(b.usage, f"{k}_tokens") for b in answers) for k in ("discarded", "wasted"))
    assert 0 < wasted < drafted / 4, "this student is a good draft of this teacher"


async def test_a_longer_draft_costs_more_and_changes_no_answer(bundled: Models, problems: list[Problem]) -> None:
    two, five, twenty, default = methods_from(["speculative:2 speculative:5 speculative:20 speculative"], bundled)
    answers = {m.label: [await m.answer(question(p), {}) for p in problems[:4]] for m in (two, five, twenty)}
    texts = {label: [a.text for a in several] for label, several in answers.items()}
    assert texts["speculative 2"] == texts["speculative 5"] == texts["speculative 20"]
    wasted = [sum(a.usage.wasted_tokens for a in several) for several in answers.values()]
    assert wasted == sorted(wasted) and wasted[0] < wasted[-1]
    keys = [str(m.decisive(question(problems[0]))) for m in (two, five, default)]
    assert keys[0] != keys[1] == keys[2]


@pytest.mark.parametrize("tiny_is_the", ["teacher", "student"])
async def test_greedy_answers_are_the_teachers_across_vocabularies(tiny_is_the: str, problems: list[Problem]) -> None:
    tokenizer = make_tokenizer()
    tokenizer.hf.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    tiny = TransformersEngine(make_model(vocab_size=304, max_position_embeddings=2048), tokenizer)
    pair = {"student": "bundled:student-base", "teacher": "bundled:teacher", tiny_is_the: tiny}
    models = Models(**pair, settings=RelaySettings(max_tokens=25))  # type: ignore[arg-type]
    try:
        teacher, speculative = methods(models)
        for problem in problems[:3]:
            own, answer = [await m.answer(question(problem), {}) for m in (teacher, speculative)]
            assert (answer.text, answer.finish_reason) == (own.text, own.finish_reason)
            assert answer.usage.teacher_tokens == own.usage.teacher_tokens
            assert answer.usage.student_prompt_tokens != answer.usage.teacher_prompt_tokens
            assert answer.usage.discarded_tokens > 0
        # sampled: transformers cuts a copy of the draft down, and the student stays whole
        sampled = [await speculative.answer(question(problems[0], seed=4, temperature=1.0), {}) for _ in range(2)]
        assert sampled[0].text == sampled[1].text and sampled[0].usage == sampled[1].usage
        again = await speculative.answer(question(problem), {})
        assert (again.text, again.usage) == (answer.text, answer.usage)
    finally:
        await models.aclose()
        await tiny.aclose()


async def test_seeds_and_sampling_are_the_teachers(bundled: Models, problems: list[Problem]) -> None:
    models = Models(
        student=bundled.student, teacher=bundled.teacher, base=bundled.base,
        settings=RelaySettings(max_tokens=40, teacher_temperature=3.0, student_instructions="Call often."),
    )  # fmt: skip
    (speculative,) = methods_from(["speculative"], models)
    texts = [(await speculative.answer(question(problems[0], seed), {})).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    keys = [speculative.decisive(question(problems[0], seed)) for seed in (1, 2)]
    assert keys[0] != keys[1] and "3.0" in str(keys[0]) and "Call often" not in str(keys[0])
    greedy = await speculative.answer(question(problems[0], temperature=0.0), {})
    assert greedy.text not in texts


async def test_a_deadline_and_a_prompt_that_is_too_long(bundled: Models, problems: list[Problem]) -> None:
    (speculative,) = methods_from(["speculative"], bundled)
    late = await speculative.answer(question(problems[0], deadline_s=1e-9), {})
    assert late.finish_reason == "deadline" and late.is_truncated and late.usage.teacher_tokens > 0
    long = Problem(id="long", messages=({"role": "user", "content": "apples " * 3000},), answer="")
    assert (await speculative.answer(question(long), {})).finish_reason == "too_long"


async def test_a_cancelled_answer_stops_after_a_pass_and_the_next_one_is_written(
    bundled: Models, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    from relay_core.evaluate.methods import speculative as module

    (speculative,) = methods_from(["speculative"], bundled)
    is_over, goes_on, passes = module._Turn.is_over, threading.Event(), []
    loop, began = asyncio.get_running_loop(), asyncio.Event()

    def held(turn, ids):  # type: ignore[no-untyped-def]
        passes.append(len(ids))
        loop.call_soon_threadsafe(began.set)
        goes_on.wait(30)
        return is_over(turn, ids)

    monkeypatch.setattr(module._Turn, "is_over", held)
    running, waiting = (asyncio.ensure_future(speculative.answer(question(p), {})) for p in problems[:2])
    await began.wait()
    for task in (waiting, running):
        task.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    assert all(
        isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(running, waiting, return_exceptions=True)
    )
    assert len(passes) == 1, "one pass of one answer"
    monkeypatch.undo()
    assert (await speculative.answer(question(problems[0]), {})).finish_reason == "stop"


def test_served_models_are_refused_with_what_to_write() -> None:
    served = ScriptedEngine("x")
    for models, role in (
        (Models(student="bundled", teacher=served), "teacher"),
        (Models(student=served, teacher="bundled"), "student"),
    ):
        with pytest.raises(ConfigurationError, match=rf"the {role} is .*the method teacher.*speculative-config"):
            methods_from(["speculative"], models)
