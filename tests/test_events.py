import json

from relay_core import Prices, Usage
from relay_core.engines.openai.retries import BreakerState
from relay_core.events import CallEnded, FinishReason, RelayResult
from relay_core.transcript import Author, Segment, Transcript


def result(**changes) -> RelayResult:
    fields = {
        "text": "a 7",
        "segments": [Segment(Author.STUDENT, "a ", (1,), (None,), 1), Segment(Author.TEACHER, "7", (2,), (None,), 1)],
        "usage": Usage(prompt_tokens=3, student_tokens=1, teacher_tokens=1, teacher_prompt_tokens=4, calls=2),
        "finish_reason": FinishReason.STOP,
        "calls": [CallEnded(3, 1, 0.1), CallEnded(5, 0, 0.2, "no answer")],
        "seconds": 0.5,
        "transcript": Transcript(),
    }
    return RelayResult(**{**fields, **changes})


def test_the_result_as_json() -> None:
    said = json.loads(json.dumps(result(prices=Prices(teacher_output=1e6)).as_dict()))
    assert said["text"] == "a 7"
    assert said["segments"] == [
        {"author": "student", "text": "a ", "token_ids": [1]},
        {"author": "teacher", "text": "7", "token_ids": [2]},
    ]
    assert said["usage"]["call_ratio"] == 0.5
    assert (said["cost"], said["cost_teacher_alone"]) == (1.0, 2.0)
    assert (said["finish_reason"], said["failures"]) == ("stop", ["no answer"])


def test_the_calls_and_the_breakers_state_as_json() -> None:
    calls = [CallEnded(3, 1, 0.5), CallEnded(5, 0, 0.25, "no answer", BreakerState.OPEN)]
    said = json.loads(json.dumps(result(calls=calls, breaker=BreakerState.HALF_OPEN).as_dict()))
    assert said["calls"] == [
        {"requested": 3, "received": 1, "seconds": 0.5, "error": None, "breaker": None},
        {"requested": 5, "received": 0, "seconds": 0.25, "error": "no answer", "breaker": "open"},
    ]
    assert said["breaker"] == "half-open"
    assert result().as_dict()["breaker"] is None


def test_without_prices_there_is_no_cost() -> None:
    assert result().cost is None
    assert result().cost_teacher_alone is None


def test_the_repr_of_a_result_leaves_out_the_transcript() -> None:
    assert "transcript" not in repr(result())
