import json
from dataclasses import replace

import pytest

from relay_core import EngineError, Prices, Relay, RelaySettings, ScriptedEngine, Uncertain
from relay_core.errors import ContextOverflow
from relay_core.evaluate.answers import Answers
from relay_core.evaluate.comparison import Method
from relay_core.evaluate.doubts import Recording
from relay_core.evaluate.prompts import LoggedProblem
from relay_core.evaluate.store import Journal
from testing.tasks import problem

QUESTION = problem("?", None)


def method(student="hi", teacher="ho", written_by="student", **settings):
    engines = [e if isinstance(e, ScriptedEngine) else ScriptedEngine(e, None, record=True) for e in (student, teacher)]
    return Method("relay", Relay(*engines, RelaySettings(**settings)), written_by)


async def test_the_key_of_an_answer_does_not_change_with_the_version(tmp_path):
    """Where it changed, an older journal would be asked again, from a teacher that may cost money."""
    relay = Relay(
        ScriptedEngine("hi", None), ScriptedEngine("ho", None), RelaySettings(temperature=0.5, max_calls=None)
    )
    path = tmp_path / "answers.jsonl"
    await Answers(Journal(path)).to(problem("What is 2 + 3?", 5), Method("relay", relay))
    assert json.loads(path.read_text())["key"] == "523e1163ece307785a84b703ac66de21"


async def test_an_answer_is_kept_and_not_asked_for_again(tmp_path):
    first, again = method(), method()
    path = tmp_path / "answers.jsonl"
    kept = await Answers(Journal(path)).to(QUESTION, first)
    answers = Answers(Journal(path))
    assert answers.has(QUESTION, again) and await answers.to(QUESTION, again) == kept
    assert kept.text == "hi" and kept.finish_reason == "stop" and kept.usage.student_tokens == 2
    assert not again.relay.student.requests and len(path.read_text().splitlines()) == 1
    assert json.loads(path.read_text())["id"] == "?" and json.loads(path.read_text())["method"] == "relay"


@pytest.mark.parametrize(
    "other",
    [
        {"max_tokens": 7}, {"trigger": Uncertain(0.3, 2)}, {"trigger": "uncertain:0.3,3"}, {"temperature": 0.5},
        {"student_instructions": "x <call>1</call>"}, {"written_by": "teacher"},
    ],
)  # fmt: skip
async def test_other_settings_need_another_answer(other):
    answers = Answers()
    await answers.to(QUESTION, method())
    assert not answers.has(QUESTION, method(**other))
    assert answers.has(QUESTION, method(prices=Prices(student_input=1), warming="off"))


async def test_another_prompt_or_engine_needs_another_answer():
    answers = Answers()
    await answers.to(QUESTION, method())
    named = ScriptedEngine("hi", None)
    named.spec = "scripted:other"
    assert not answers.has(QUESTION, method(student=named)) and not answers.has(QUESTION, method(teacher=named))
    assert not answers.has(replace(QUESTION, id="2"), method())
    assert not answers.has(replace(QUESTION, messages=({"role": "user", "content": "!"},)), method())
    assert not answers.has(QUESTION, method(), recording=Recording())
    with_tools = LoggedProblem(id="?", messages=QUESTION.messages, answer=None, tools=({"name": "f"},))
    assert not answers.has(with_tools, method())


async def test_the_students_doubts_survive_the_journal(tmp_path):
    path = tmp_path / "answers.jsonl"
    student = ScriptedEngine("hi", None, logprob=-0.25)
    kept = await Answers(Journal(path)).to(QUESTION, method(student), recording=Recording())
    assert list(kept.sureness) == [-0.25, -0.25]
    assert (await Answers(Journal(path)).to(QUESTION, method(student), recording=Recording())).sureness == [
        -0.25,
        -0.25,
    ]


async def test_the_teacher_alone_counts_as_the_teacher():
    kept = await Answers().to(QUESTION, method("answer", written_by="teacher"))
    assert kept.usage.teacher_tokens == 6 and kept.usage.call_ratio == 1.0


async def test_a_prompt_that_does_not_fit_is_noted_and_other_failures_are_raised(tmp_path):
    path = tmp_path / "answers.jsonl"
    kept = await Answers(Journal(path)).to(QUESTION, method([[ContextOverflow("9 tokens")]]))
    assert (
        kept.too_long is not None
        and "9 tokens" in kept.too_long
        and Answers(Journal(path)).has(QUESTION, method([[ContextOverflow("9 tokens")]]))
    )
    calling = {"student": "<call>3</call>", "on_teacher_error": "raise"}
    assert (await Answers().to(QUESTION, method(teacher=[[ContextOverflow("8 tokens")]], **calling))).too_long
    answers = Answers()
    with pytest.raises(EngineError, match="gone"):
        await answers.to(QUESTION, method(teacher=[[EngineError("gone")]], **calling))
    assert not answers.has(QUESTION, method(**calling))


async def test_the_cost_of_all_answers():
    answers = Answers()
    await answers.to(QUESTION, method())
    await answers.to(QUESTION, method("four", written_by="teacher"))
    assert answers.cost(Prices(student_output=1e6, teacher_output=1e7)) == pytest.approx(2 + 40)


async def test_another_head_in_the_same_folder_asks_again(tmp_path):
    answers, head = Answers(), tmp_path / "head"
    head.mkdir()
    for weights, asked in ((b"one", 1), (b"two", 2), (b"one", 2)):
        (head / "head.safetensors").write_bytes(weights)
        student = ScriptedEngine("hi", None, logprob=-0.1)
        await answers.to(QUESTION, method(student, trigger=f"hidden:{head},0.5,2"))
        await answers.to(QUESTION, method(student), recording=Recording(str(head)))
        assert len(answers._kept) == 2 * asked
