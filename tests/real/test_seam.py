"""500 answers with calls at random places, by commands and by chance: no character is lost or doubled."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from relay_core import Engine
from testing.real_engines import ON_TRANSFORMERS
from testing.seam import all_of, answered, check_seams

SMALL = ("smollm2-135m", "gemma3-270m")
SUBJECTS = ["the sea", "雪", "зима", "चाय", "🦊 and 🌊", "def f(x):", "naïve café", "1 + 1", "a list:\n\n- ", "한국"]

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.shows("500 answers at random places"),
    pytest.mark.kinds(ON_TRANSFORMERS),
]


@pytest.mark.parametrize(("student", "teacher"), [(a, b) for a in SMALL for b in SMALL])
@pytest.mark.parametrize(("temperature", "trigger"), [(0.0, "commands"), (1.0, "chance:0.1,5")])
def test_no_character_is_lost_or_doubled(
    trio: Mapping[str, Engine], student: str, teacher: str, temperature: float, trigger: str
) -> None:
    answers = all_of(
        answered(
            trio[student], trio[teacher], f"Write about {SUBJECTS[i % len(SUBJECTS)]} ({i}).",
            chance=0.2 if trigger == "commands" else 0.0, n=1 + i % 5, seed=i, max_tokens=24,
            on_teacher_stop="continue", temperature=temperature, warming="on" if i % 3 else "off", trigger=trigger,
        )
        for i in range(63)
    )  # fmt: skip
    for answer in answers:
        check_seams(answer)
        assert answer.result.failures == []
    assert sum(answer.result.usage.calls for answer in answers) > len(answers) / 2
