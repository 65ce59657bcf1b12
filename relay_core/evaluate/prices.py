"""Prices for reports of a user who gave none."""

from __future__ import annotations

from relay_core.settings import Prices

#: per million tokens, roughly as hosted models of 1.7 and 8 billion parameters relate, cached input at a tenth
EXAMPLE_PRICES = Prices(
    student_input=0.02, student_output=0.06, student_cached_input=0.002,
    teacher_input=0.10, teacher_output=0.30, teacher_cached_input=0.01,
)  # fmt: skip
