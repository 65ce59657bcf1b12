"""The source `told` on scripted models: what is kept of a student that is told when to call."""

import pytest

from relay_core import ConfigurationError, EngineError, Relay, RelaySettings, ScriptedEngine, TeacherUnavailable
from relay_core.instructions import CALCULATIONS
from relay_core.train.jobs import jobs_for
from relay_core.train.supervised import IGNORED
from relay_core.train.told import answers, instructions, training_rows
from testing.graders import none_of_it
from testing.tasks import FixedTask, problem


def holds(text: str, answer: str) -> bool:
    return answer in text


def run(student, teacher, folder, questions, **settings):
    values = {"max_tokens": 60, "on_teacher_stop": "continue", **settings}
    relay = Relay(student, teacher, RelaySettings(**values))
    jobs = jobs_for([problem(q, "282") for q in questions], 1, run_seed=1, stage="warmup")
    rows = answers(relay, FixedTask(grader=holds), jobs, folder, CALCULATIONS, temperature=0.7)
    return rows, training_rows(rows, jobs, student.tokenizer, enable_thinking=False)


def test_the_instructions_are_dropped_and_n_is_what_came(qwen3, tmp_path):
    student = ScriptedEngine([["47 * 6 = <call>8</call>"], [". Done."]], qwen3, record=True, honour_stop=True)
    plain = ScriptedEngine("x", qwen3, record=True)
    Relay(plain, None).generate("cups")
    rows, data = run(student, ScriptedEngine("282", qwen3), tmp_path, ["cups"])
    prompt = list(plain.requests[0][0].token_ids)
    before = qwen3.encode("47 * 6 = <call>3</call>")  # ` <` is one token: what stands before the command is kept
    after = [*qwen3.encode(". Done."), qwen3.hf.eos_token_id]
    assert data == [
        {
            "input_ids": [*prompt, *before, *qwen3.encode("282"), *after],
            "labels": [*[IGNORED] * len(prompt), *before, *[IGNORED] * 3, *after],
        }
    ]
    assert rows[0]["calls"] == [3] and rows[0]["teacher_wrote"] == 3 and rows[0]["teacher_read"] > 3
    asked = student.requests[0]
    assert CALCULATIONS in asked[0].text and asked[1].temperature == 0.7 and asked[1].seed is not None
    student.requests.clear()
    assert run(student, ScriptedEngine("282", qwen3), tmp_path, ["cups"]) == (rows, data)
    assert student.requests == []  # they are on the disk


def test_a_number_that_fits_leaves_the_sampled_ids(qwen3, tmp_path):
    call = qwen3.vocabulary["call"]
    letters = [qwen3.vocabulary[letter] for letter in "call"]  # not the ids that the tokenizer gives
    odd = [j for i in qwen3.encode("47 * 6 = <call>3</call>") for j in (letters if i == call else [i])]
    student = ScriptedEngine([odd, [" yes"]], qwen3)
    _, (row,) = run(student, ScriptedEngine("282", qwen3), tmp_path, ["cups"])
    assert qwen3.decode(odd) == "47 * 6 = <call>3</call>"
    assert [i for i in row["labels"] if i != IGNORED][: len(odd)] == odd


@pytest.mark.parametrize(
    ("turns", "teacher", "settings"),
    [
        ([["<call>3</call>"], ["."]], "292", {}),  # wrong
        ([["<call>3</call>"], [" 282."]], EngineError("away"), {}),  # the call failed
        ([["<call>3</call>"], [" 282."]], "", {}),  # the teacher had nothing to say
        ([["<call>x</call> 282"]], "282", {}),  # malformed
        ([["<call>3</call>"], ["<call>3</call>."]], "282", {"max_calls": 1}),  # one call was refused
        ([["282 " * 30]], "282", {}),  # cut off
    ],
)
def test_other_answers_are_not_trained_on(qwen3, tmp_path, turns, teacher, settings):
    script = [[teacher]] if isinstance(teacher, Exception) else teacher
    rows, data = run(ScriptedEngine(turns, qwen3), ScriptedEngine(script, qwen3), tmp_path, ["cups"], **settings)
    assert len(rows) == 1 and data == []


def test_a_teacher_that_is_away_ends_the_stage_and_keeps_the_answers(qwen3, tmp_path):
    questions = [f"cups {i}" for i in range(30)]
    student = ScriptedEngine([["<call>3</call>"], [" 282."]], qwen3, record=True)
    with pytest.raises(TeacherUnavailable, match=r"failed in 11 of \d+ answers; latest: .*away"):
        run(student, ScriptedEngine([[EngineError("away")]], qwen3), tmp_path, questions)
    rows, data = run(student, ScriptedEngine("282", qwen3), tmp_path, questions)
    assert sum(row["failed_calls"] > 0 for row in rows) == 10 and len(data) == 20


def test_a_right_answer_without_a_call_is_kept(qwen3, tmp_path):
    _, data = run(ScriptedEngine("It is 282.", qwen3), ScriptedEngine("", qwen3), tmp_path, ["a", "b"])
    assert [[i for i in row["labels"] if i != IGNORED] for row in data] == [
        [*qwen3.encode("It is 282."), qwen3.hf.eos_token_id]
    ] * 2


def test_instructions_by_name_or_of_your_own():
    assert instructions("calculations") is CALCULATIONS
    own = "Write <call>8</call> where a number is due."
    assert instructions(own) is own
    with pytest.raises(ConfigurationError, match=r"did you mean.*calculations"):
        instructions("calculatons")
    with pytest.raises(ConfigurationError, match="shows a command"):
        instructions("Call the expert where a number is due.")


def test_an_answer_that_cannot_be_graded_is_not_trained_on(qwen3, tmp_path):
    relay = Relay(ScriptedEngine("?", qwen3), ScriptedEngine("282", qwen3), RelaySettings(max_tokens=60))
    jobs = jobs_for([problem("cups", "282")], 1, run_seed=1, stage="warmup")
    (row,) = answers(relay, FixedTask(grader=none_of_it), jobs, tmp_path, CALCULATIONS)
    assert row["right"] is None and row["token_ids"] is None
