import pytest

from relay_core import Prices, Usage
from relay_core.evaluate.answers import KeptAnswer
from relay_core.evaluate.figures import Scored, figures

PRICES = Prices(
    student_input=1e6, student_cached_input=1e5, student_output=0,
    teacher_input=1e7, teacher_cached_input=1e6, teacher_output=0,
)  # fmt: skip


def scored(score=1.0, **usage):
    return Scored(KeptAnswer("", Usage(**usage), 2.0, "stop"), score, teacher_prompt_tokens=10)


def test_with_caching_a_token_is_paid_in_full_once():
    # the teacher reads 10 + 4, then 10 + 12 tokens of an answer of 20; the student 8, then 8 + 6
    answer = scored(
        prompt_tokens=8, student_tokens=14, teacher_tokens=6, calls=2, student_prompt_tokens=22,
        teacher_prompt_tokens=36, teacher_cached_tokens=36, student_cached_tokens=None,
    )  # fmt: skip
    assert answer.cost(PRICES, caching=False) == pytest.approx(22 * 1 + 36 * 10)
    assert answer.cost(PRICES, caching=True) == pytest.approx(22 * 1 + 30 * 10 + 6 * 1)  # 6 = 36 - 10 - 20


def test_one_request_reads_nothing_twice():
    answer = scored(teacher_tokens=5, teacher_prompt_tokens=10)
    assert answer.cost(PRICES, caching=True) == answer.cost(PRICES, caching=False) == 100


def test_figures_are_means_with_intervals():
    answers = [scored(1.0, student_tokens=8, teacher_tokens=2, calls=1), scored(0.0, student_tokens=10)] * 10
    f = figures(answers, PRICES, graded=True)
    assert (f.prompts, f.score, f.call_ratio, f.calls, f.called, f.tokens, f.seconds) == (20, 0.5, 0.1, 0.5, 0.5, 10, 2)
    assert f.score_interval == pytest.approx((0.299, 0.701), abs=1e-3)  # Wilson, 10 of 20
    assert 0 < f.call_ratio_interval[0] < 0.1 < f.call_ratio_interval[1] < 0.2
    by_bootstrap = figures(answers, PRICES, graded=False).score_interval
    assert by_bootstrap != f.score_interval and by_bootstrap[0] < 0.5 < by_bootstrap[1]
