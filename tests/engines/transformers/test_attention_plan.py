"""Which requests of a step are computed together, and where their keys are."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from relay_core.engines.transformers import attention_plan
from relay_core.engines.transformers.attention_plan import LEAST_SAVED, make_plan


def plan_of(requests, window=None):
    """The plan of requests, each given by its new tokens and by all its tokens, and the read index, which is random."""
    ends_q, ends_k = [0], [0]
    for new, total in requests:
        ends_q.append(ends_q[-1] + new)
        ends_k.append(ends_k[-1] + total)
    read_index = torch.randperm(max(1, ends_k[-1]), generator=torch.Generator().manual_seed(0))
    return make_plan(ends_q, ends_k, read_index, window), ends_q, ends_k, read_index


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(3, 60)), min_size=1, max_size=12),
    st.sampled_from([None, 1, 5, 40]),
    st.sampled_from([1, 20, LEAST_SAVED]),
)
def test_each_query_has_the_keys_of_its_own_request(requests, window, least_saved):
    before, attention_plan.LEAST_SAVED = attention_plan.LEAST_SAVED, least_saved
    try:
        plan, ends_q, ends_k, read_index = plan_of(requests, window)
    finally:
        attention_plan.LEAST_SAVED = before
    found = {}
    for part in plan.decoding:
        rows = range(len(part.mask)) if part.rows is None else part.rows.tolist()
        for row, pages, mask in zip(rows, part.pages.view(len(part.mask), -1), part.mask[:, 0, 0], strict=True):
            found[row] = pages[mask].tolist()
    for reading in plan.reading:
        for row in range(reading.first_query, reading.end_of_queries):
            found[row] = read_index[reading.first_key : reading.end_of_keys].tolist()
    assert sorted(found) == list(range(ends_q[-1]))
    for (new, total), q, k in zip(requests, ends_q, ends_k, strict=False):
        first = 0 if window is None else max(0, total - new - window + 1)
        for row in range(q, q + new):
            assert found[row] == read_index[k + first : k + total].tolist()


def test_long_and_short_requests_are_apart_if_that_saves_enough():
    plan, *_ = plan_of([(1, 100)] * 60 + [(1, 1000)] * 4)
    assert [len(part.mask) for part in plan.decoding] == [4, 60]
    assert sum(len(part.pages) for part in plan.decoding) == 4 * 1000 + 60 * 100
    assert plan.decoding[0].rows.tolist() == [63, 62, 61, 60]


def test_short_requests_stay_together_and_need_no_rows():
    (part,) = plan_of([(1, 10), (1, 60), (1, 30)])[0].decoding
    assert part.rows is None and part.mask.sum(-1).flatten().tolist() == [10, 60, 30]
    (part,) = plan_of([(1, 10), (7, 60), (1, 30)])[0].decoding
    assert part.rows.tolist() == [0, 8]


def test_a_step_without_decoding_requests():
    plan, *_ = plan_of([(7, 60), (1, 1)])
    assert plan.decoding == () and len(plan.reading) == 2
