"""Instructions: the texts that ship, and texts of one's own."""

from __future__ import annotations

import pytest

from relay_core import Relay, ScriptedEngine
from relay_core.errors import ConfigurationError
from relay_core.instructions import BY_NAME, instructions, named


@pytest.mark.parametrize("text", BY_NAME.values(), ids=BY_NAME)
def test_a_text_that_ships_shows_calls_and_answers_without_one(text: str) -> None:
    examples = text.split("\nExample ")[1:]
    with_a_call = ["<call>" in example.split("\nRemember")[0] for example in examples]
    assert with_a_call == sorted(with_a_call, reverse=True) and with_a_call.count(False) == 2 <= with_a_call.count(True)
    assert "<call>" in text.splitlines()[0] and "<call>" in text.splitlines()[-1]


def test_a_text_of_ones_own_says_when_shows_the_example_and_reminds() -> None:
    text = instructions("When a date is due,", " The treaty was signed in <call>12</call>. ", n=12)
    assert "When a date is due, you do not write it yourself: you write <call>12</call>" in text
    assert "Example: The treaty was signed in <call>12</call>.\n" in text
    assert text.endswith("Remember: when a date is due, write <call>12</call> in its place.")


def test_several_examples_are_numbered_and_followed_by_answers_without_a_call() -> None:
    text = instructions("When a date is due", [("When was it?", "In <call>8</call>."), ("And then?", "<call>8</call>")])
    assert "Example 1\nUser: When was it?\nYou: In <call>8</call>.\nExample 2\nUser: And then?" in text
    assert "Example 4\nUser: Why do people keep dogs?" in text


@pytest.mark.parametrize("example", ["In 1648.", [("When?", "In <call>8</call>"), ("Where?", "In Münster.")]])
def test_an_example_without_a_command_is_refused(example: str | list[tuple[str, str]]) -> None:
    with pytest.raises(ConfigurationError, match="the example has no command"):
        instructions("When a date is due", example)


def test_an_empty_when_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="write when to call"):
        instructions(" . ", "In <call>8</call>.")


def test_a_wrong_name_is_refused_with_the_nearest_one() -> None:
    assert named("facts") is BY_NAME["facts"]
    with pytest.raises(ConfigurationError, match="calculations"):
        named("calculation")


def test_the_student_reads_the_text_and_the_teacher_does_not() -> None:
    student = ScriptedEngine(["48 + 59 = <call>4</call>", " done"], tokenizer="bundled", record=True)
    teacher = ScriptedEngine("107", tokenizer="bundled", record=True)
    relay = Relay(student, teacher)
    relay.generate("How many?", student_instructions=BY_NAME["calculations"], on_teacher_stop="continue")
    assert "You never write the result" in student.requests[0][0].text
    assert "You never write the result" not in teacher.requests[0][0].text
