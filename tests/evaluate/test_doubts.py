import math
import random

import pytest

from relay_core import Hidden, Relay, RelaySettings, ScriptedEngine, Uncertain
from relay_core.engines.scripted import Doubt
from relay_core.evaluate.doubts import Foretold, Recording, foretell, trigger_for

SURE, UNSURE = math.log(0.9), math.log(0.3)
ANSWER = [SURE, UNSURE, SURE, SURE, UNSURE, UNSURE, SURE, SURE]


def test_a_recording_sees_what_the_trigger_sees(qwen3):
    student = ScriptedEngine([["a", Doubt(" b", 0.3), " c"]], qwen3, logprob=math.log(0.9))
    recording = Recording()
    result = Relay(student, ScriptedEngine("never", qwen3), RelaySettings(trigger=recording)).generate("?")
    assert result.text == "a b c" and result.usage.calls == 0
    assert recording.sureness == pytest.approx([SURE, UNSURE, SURE, SURE])  # the last one is the end token


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Uncertain(0.5, 1), Foretold(3 / 8, 3)),
        (Uncertain(0.5, 2), Foretold(4 / 8, 2)),  # the second doubt behind it falls into the call
        (Uncertain(0.5, 1, gap=1), Foretold(2 / 8, 2)),
        (Uncertain(0.5, 100), Foretold(7 / 8, 1)),  # not beyond the answer's end
        (Uncertain(0.2, 4), Foretold(0.0, 0)),
    ],
)
def test_foretold_by_the_students_own_tokens(trigger, expected):
    assert foretell([ANSWER], trigger) == expected
    assert foretell([ANSWER, ANSWER], trigger) == expected


def test_the_trigger_for_a_call_ratio():
    doubts = [[math.log(i / 1000) for i in range(1, 1000)]]
    for ratio in (0.05, 0.3):
        assert trigger_for(doubts, ratio, n=1).below == pytest.approx(ratio, abs=0.002)
    assert trigger_for(doubts, 1.0, n=1) == Uncertain(1.0, 1)
    assert trigger_for([[]], 0.1, n=3, gap=2) == Uncertain(1.0, 3, 2)


def test_a_student_that_is_nearly_always_sure_still_gets_a_fine_bound():
    doubts = [[math.log1p(-i * 1e-6) for i in range(1, 1000)]]
    trigger = trigger_for(doubts, 0.05, n=1)
    assert foretell(doubts, trigger).call_ratio == pytest.approx(0.05, rel=0.1) and trigger.below < 1
    assert str(trigger).startswith("uncertain:0.999")


async def test_with_a_head_the_sureness_is_that_the_token_is_right():
    """Hidden(above) calls at the same places as Uncertain(1 - above) would if the two probabilities were the same."""
    recording = Recording("head")
    student = ScriptedEngine([["a", Doubt("b", 0.25), "c"]], None, logprob=math.log(0.9), record=True)
    await Relay(student, ScriptedEngine("x")).agenerate("Q", trigger=recording)
    assert recording.sureness == pytest.approx([math.log(p) for p in (0.9, 0.25, 0.9)])
    assert student.requests[0][1].head == "head" and not student.requests[0][1].top_logprob
    doubts = [recording.sureness]
    assert foretell(doubts, Hidden("head", 0.5, 2)) == foretell(doubts, Uncertain(0.5, 2)) == Foretold(2 / 3, 1)
    assert foretell(doubts, Hidden("head", 0.8, 2)) == Foretold(0.0, 0)


def test_the_bound_of_a_head_is_found_as_that_of_a_probability():
    rng = random.Random(2)
    doubts = [[math.log(1 - rng.random() ** 3) for _ in range(50)] for _ in range(20)]
    for ratio in (0.02, 0.1, 0.4):
        by_head, bare = trigger_for(doubts, ratio, 3, head="h"), trigger_for(doubts, ratio, 3)
        assert isinstance(by_head, Hidden) and (by_head.head, by_head.n) == ("h", 3)
        assert foretell(doubts, by_head).call_ratio == pytest.approx(ratio, rel=0.1)
        assert by_head.above == pytest.approx(1 - bare.below)
    certain = trigger_for([[math.log(1e-12)] + [0.0] * 99], 0.01, 1, head="h")
    assert certain.above < 1 and foretell([[math.log(1e-11)]], certain).calls == 1
    assert trigger_for(doubts, 1.0, 1, head="h") == Hidden("h", 0.0, 1)
