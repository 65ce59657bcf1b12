from relay_core import EngineError, Relay, RelaySettings, ScriptedEngine
from relay_core.evaluate.outcome import Outcome, outcome_of


async def answered(student, teacher="123456789", **settings):
    relay = Relay(ScriptedEngine(student, None), ScriptedEngine(teacher, None), RelaySettings(**settings))
    return await relay.agenerate("?")


async def test_places_of_calls_are_counted_in_the_tokens_of_both_models():
    outcome = outcome_of(await answered([["ab<call>3</call>"], ["cd<call>2</call>"], ["e"]]))
    assert outcome.text == "ab123cd12e"
    assert [(call.place, call.requested, call.received) for call in outcome.calls] == [(16, 3, 3), (35, 2, 2)]
    assert [part.author for part in outcome.parts] == [
        "student", "command", "teacher", "student", "command", "teacher", "student"
    ]  # fmt: skip
    assert sum(part.tokens for part in outcome.parts) == outcome.usage.completion_tokens


async def test_a_call_that_failed_has_a_place_and_its_error():
    def teacher(prompt):
        return [EngineError("down", role="teacher")] if not prompt.continuation.endswith("cd") else "12"

    outcome = outcome_of(await answered([["ab<call>3</call>"], ["cd<call>2</call>"], ["e"]], teacher))
    failed, made = outcome.calls
    assert failed.received == 0 and "down" in failed.error and made.received == 2 and made.error is None
    assert failed.place <= made.place


async def test_a_teacher_alone_is_paid_as_a_teacher():
    outcome = outcome_of(await answered("abc"), written_by="teacher")
    assert outcome.usage.teacher_tokens == 3 and outcome.usage.call_ratio == 1
    assert [part.author for part in outcome.parts] == ["teacher"]


async def test_an_outcome_survives_as_a_row():
    outcome = outcome_of(await answered([["ab<call>3</call>"], ["e"]], max_tokens=17))
    assert outcome.is_truncated and Outcome.of_row(outcome.as_row()) == outcome
