import dataclasses

import pytest

from relay_core import Prices, Usage

PRICES = Prices(
    student_input=1.0, student_output=2.0, teacher_input=10.0, teacher_output=20.0, teacher_cached_input=1.0
)
USAGE = Usage(
    prompt_tokens=100,
    student_tokens=40,
    command_tokens=10,
    teacher_tokens=50,
    teacher_prompt_tokens=300,
    teacher_cached_tokens=200,
    student_prompt_tokens=150,
    student_cached_tokens=100,
    calls=2,
    refused_calls=1,
    failed_calls=1,
    malformed_calls=3,
    wasted_requests=1,
    wasted_prompt_tokens=30,
    wasted_cached_tokens=20,
    wasted_tokens=4,
)


def test_the_call_ratio_is_the_papers() -> None:
    assert USAGE.completion_tokens == 100
    assert USAGE.call_ratio == 0.5
    assert Usage().call_ratio == 0.0


def test_the_cost_counts_prompt_tokens_and_prices_cached_ones_apart() -> None:
    student = 150 * 1.0 + (40 + 10) * 2.0  # no price for cached input: the input price
    teacher = 100 * 10.0 + 200 * 1.0 + 50 * 20.0
    wasted = 10 * 10.0 + 20 * 1.0 + 4 * 20.0
    assert USAGE.cost(PRICES) == pytest.approx((student + teacher + wasted) / 1e6)
    unknown = dataclasses.replace(USAGE, teacher_cached_tokens=None)
    assert unknown.cost(PRICES) == pytest.approx((student + 300 * 10.0 + 50 * 20.0 + wasted) / 1e6)
    unknown = dataclasses.replace(USAGE, wasted_cached_tokens=None)
    assert unknown.cost(PRICES) == pytest.approx((student + teacher + 30 * 10.0 + 4 * 20.0) / 1e6)


def test_the_teacher_alone_reads_the_prompt_once_and_writes_no_command() -> None:
    assert USAGE.cost_teacher_alone(PRICES) == pytest.approx((100 * 10.0 + 90 * 20.0) / 1e6)


def test_usages_add_up_field_by_field() -> None:
    total = Usage.total([USAGE, USAGE, USAGE])
    assert all(getattr(total, f.name) == 3 * getattr(USAGE, f.name) for f in dataclasses.fields(Usage))
    assert Usage.total([]) == Usage()


def test_a_sum_with_an_unknown_count_is_unknown() -> None:
    unknown = dataclasses.replace(USAGE, teacher_cached_tokens=None)
    assert (USAGE + unknown).teacher_cached_tokens is None
    assert (USAGE + unknown).student_cached_tokens == 200


def test_as_dict_holds_every_field_and_the_ratio() -> None:
    assert USAGE.as_dict() == {**dataclasses.asdict(USAGE), "call_ratio": 0.5}
