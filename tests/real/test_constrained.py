"""Sampled texts under constraints follow them on all three models, alone and with calls at random places.

``python benchmarks/constrained.py FOLDER --valid 100`` counts them for 100 texts each.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchmarks.constrained import count_valid
from relay_core import Engine, Relay
from testing.real_engines import MODELS, ON_TRANSFORMERS

TEXTS = 4  # of each constraint
ALL = dict.fromkeys(("json_schema", "regex", "choice", "tool_call"), TEXTS)
SMALL = ("smollm2-135m", "gemma3-270m")
PAIRS = [(student, next(name for name in SMALL if name != student)) for student in MODELS]  # of two vocabularies

pytestmark = [pytest.mark.timeout(900), pytest.mark.kinds(ON_TRANSFORMERS)]


@pytest.mark.shows("constraints, sampled")
@pytest.mark.parametrize("student", MODELS)
async def test_every_text_follows(trio: Mapping[str, Engine], student: str) -> None:
    assert await count_valid(Relay(trio[student], None), TEXTS) == ALL


@pytest.mark.shows("constraints, with calls")
@pytest.mark.parametrize(("student", "teacher"), PAIRS)
async def test_every_text_of_two_models_follows(trio: Mapping[str, Engine], student: str, teacher: str) -> None:
    relay = Relay(trio[student], trio[teacher])
    assert await count_valid(relay, TEXTS, trigger="chance:0.1,3", warming="off") == ALL
