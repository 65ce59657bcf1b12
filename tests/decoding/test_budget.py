"""Budgets and the sampling of each request, by themselves; through the loop they are in test_loop.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import ContextOverflow, Prompt, RelaySettings, ScriptedEngine
from relay_core.decoding.budget import Budget, student_sampling, teacher_sampling
from relay_core.transcript import Transcript

optional = st.one_of(st.none(), st.integers(1, 20))


def written(student: int, teacher: int) -> Transcript:
    transcript = Transcript()
    for i in range(student):
        transcript.add_student(i, "s")
    transcript.begin_call()
    for i in range(teacher):
        transcript.add_teacher(i, "t")
    return transcript


@given(
    requested=st.one_of(st.none(), st.integers(0, 30)), calls=st.integers(0, 4), student=st.integers(0, 20),
    teacher=st.integers(0, 20), max_tokens=st.integers(1, 40), max_calls=optional, max_call_tokens=optional,
    max_teacher_tokens=st.one_of(st.none(), st.integers(20, 40)), has_teacher=st.booleans(),
)  # fmt: skip
def test_a_call_never_exceeds_any_budget(requested, calls, student, teacher, has_teacher, **limits) -> None:
    settings = RelaySettings(**limits)
    budget = Budget(settings, written(student, teacher), range(calls), has_teacher=has_teacher)
    tokens = budget.allowance(requested)
    assert tokens >= 0
    assert requested is None or tokens <= requested
    assert tokens <= max(0, settings.max_tokens - student - teacher)
    assert settings.max_call_tokens is None or tokens <= settings.max_call_tokens
    assert settings.max_teacher_tokens is None or tokens <= max(0, settings.max_teacher_tokens - teacher)
    if not has_teacher or (settings.max_calls is not None and calls >= settings.max_calls):
        assert tokens == 0
    assert tokens <= budget.allowance(None), "no call may have more than the most"


@pytest.mark.parametrize(("prompt", "left"), [([0] * 3, 5), ([0] * 6, 4), ([0] * 12, -2), (None, 5)])
def test_the_tokens_left_by_budget_and_context(prompt: list[int] | None, left: int) -> None:
    budget = Budget(RelaySettings(max_tokens=7), written(2, 0), [], has_teacher=True)
    engine = ScriptedEngine("", None, context_length=10)
    assert budget.tokens_left(engine, Prompt("", prompt)) == left
    if left < 0:
        with pytest.raises(ContextOverflow, match=r"12 tokens.*context is 10"):
            budget.check_fits(engine, Prompt("", prompt))
    else:
        budget.check_fits(engine, Prompt("", prompt))


def test_no_two_requests_of_an_answer_have_one_seed() -> None:
    settings = RelaySettings(seed=5, temperature=0.7, top_p=0.9, top_k=4, teacher_temperature=0.2)
    students = [student_sampling(settings, 9, written=n, may_call=True) for n in range(50)]
    teachers = [teacher_sampling(settings, 9, call=n) for n in range(50)]
    assert len({sampling.seed for sampling in students + teachers}) == 100
    assert {(s.temperature, s.top_p, s.top_k, s.stop) for s in students} == {(0.7, 0.9, 4, ("</call>",))}
    assert {(s.temperature, s.top_p, s.top_k, s.stop) for s in teachers} == {(0.2, 0.9, 4, ())}
    assert student_sampling(RelaySettings(), 9, written=3, may_call=False).seed is None
    assert student_sampling(settings, 9, written=3, may_call=False).stop == ()


def test_the_teachers_own_sampling() -> None:
    settings = RelaySettings(temperature=0.7, top_p=0.9, top_k=4, teacher_top_p=0.5, teacher_top_k=2)
    sampling = teacher_sampling(settings, 9, call=0)
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.7, 0.5, 2)
    assert teacher_sampling(settings.merged({"teacher_top_k": 0}), 9, call=0).top_k is None
    student = student_sampling(settings, 9, written=0, may_call=True)
    assert (student.temperature, student.top_p, student.top_k) == (0.7, 0.9, 4)


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**64, 10**30])
def test_every_seed_gives_seeds_that_engines_take(seed: int) -> None:
    settings = RelaySettings(seed=seed)
    for n in (0, 1, 10**6):
        for sampling in (
            student_sampling(settings, 1, written=n, may_call=True),
            teacher_sampling(settings, 1, call=n),
        ):
            assert sampling.seed is not None and 0 <= sampling.seed < 2**63
