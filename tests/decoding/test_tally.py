"""Counting what an answer reads; ``None`` is not reported, never zero."""

import pytest

from relay_core.decoding.tally import Reads, Tally
from relay_core.engines.base import EngineUsage
from relay_core.events import CallEnded
from relay_core.transcript import Transcript


@pytest.mark.parametrize(
    ("usages", "tokens", "cached"),
    [([(5, 1), (6, 2)], 11, 3), ([(5, 1), (6, None), (7, 3)], 18, None), ([(None, 1), (6, 2)], 106, 3), ([], 0, 0)],
)
def test_prompt_tokens_add_up(usages, tokens: int, cached: int | None) -> None:
    reads = Reads()
    for prompt, cached_tokens in usages:
        reads.add(100, EngineUsage(prompt, cached_tokens))
    assert (reads.tokens, reads.cached) == (tokens, cached)
    assert reads.first == (None if not usages else usages[0][0] or 100)


def test_without_a_report_the_prompts_length_counts_and_cached_tokens_are_unknown() -> None:
    reads = Reads()
    reads.add(7, None)
    assert (reads.tokens, reads.cached, reads.first) == (7, None, 7)


def test_calls_and_failures_are_those_of_the_list() -> None:
    calls: list[CallEnded] = []
    tally = Tally(calls)
    calls += [CallEnded(3, 3, 0.1), CallEnded(3, 0, 0.1, "broken")]
    tally.refused, tally.malformed = 2, 1
    usage = tally.usage(Transcript("", [1, 2]))
    assert (usage.calls, usage.failed_calls, usage.refused_calls, usage.malformed_calls) == (2, 1, 2, 1)
    assert usage.prompt_tokens == 2


def test_notes_have_their_role_as_prefix() -> None:
    tally = Tally([])
    tally.note("student", {"resumed": 1})
    tally.note("teacher", {"resumed": 1, "approximate": "it is"})
    tally.note("teacher", {"resumed": 2})
    assert tally.notes == {"student_resumed": 1, "teacher_resumed": 3, "teacher_approximate": "it is"}
