"""What crosses into an engine: sampling settings and token ids."""

from __future__ import annotations

import math
from typing import Any

import pytest

from relay_core.engines.base import Sampling
from relay_core.engines.request_check import checked_ids
from relay_core.errors import ConfigurationError, EngineError

NAN, INF = math.nan, math.inf
BAD: dict[str, list[Any]] = {
    "max_tokens": [0, -1, 1.5, True, "5", None, INF],
    "temperature": [-0.1, NAN, INF, -INF, 10**400, "1", None, True],
    "top_p": [0, -0.1, 1.1, NAN, INF, 10**400, "1", None],
    "top_k": [0, -1, 1.5, True, "5"],
    "seed": [-1, 2**63, 2**64, 10**50, 1.5, NAN, True, "5"],
    "logit_bias": [5, [(1, 2)], {"1": 2}, {-1: 2}, {1.5: 2}, {1: NAN}, {1: 101}, {1: -101}, {1: "2"}, {True: 1}],
    "stop": ["x", [], ("",), (1,), (None,)],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_value_outside_its_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} is .*: write ") as refused:
        Sampling(**{"max_tokens": 5, name: value})
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_tokens", 2**70), ("temperature", 1e308), ("temperature", 1e-300), ("top_p", 1e-320), ("top_k", 2**70),
     ("seed", 0), ("seed", 2**63 - 1), ("stop", ("a", "b")), ("logit_bias", {0: -100, 5: 100.0}), ("logit_bias", {})],
)  # fmt: skip
def test_the_ends_of_a_range_are_accepted(name: str, value: Any) -> None:
    assert getattr(Sampling(**{"max_tokens": 5, name: value}), name) == value


@pytest.mark.parametrize("ids", [[], [-1], [3, 10], [2**63], [10**400], [1.0], ["1"], [None], [[1]]])
def test_ids_that_are_no_tokens_of_the_model_are_refused(ids: list[Any]) -> None:
    with pytest.raises(EngineError, match=r"^the prompt") as refused:
        checked_ids(ids, 10)
    assert len(str(refused.value)) < 200


def test_ids_within_the_vocabulary_are_returned_as_a_list() -> None:
    assert checked_ids((0, 9), 10) == [0, 9]
    assert checked_ids(range(3), None) == [0, 1, 2]
