"""The source `answers`: calls in the teacher's own answers, where the student is not sure."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import ConfigurationError, RelaySettings, ScriptedEngine
from relay_core.evaluate.objections import texts_of
from relay_core.train.__main__ import main
from relay_core.train.answers import spans, transcripts, with_calls
from relay_core.train.jobs import jobs_for
from relay_core.train.places import whole
from relay_core.train.recipe import build
from relay_core.train.sections import Warmup
from testing.reading_teacher import ReadingTeacher
from testing.tasks import FixedTask, problem
from testing.tiny_transformers import make_tokenizer

TEXT = "Given: 6 boxes, 47 each. So 6 * 47 = 282. It is 282."
CONFIG = Warmup(source="answers", temperature=0.0)


def reading(tokenizer, text, unsure):
    """What a student read that is not sure of the tokens which begin behind each of `unsure`."""
    ids = tokenizer.encode(text)
    beginnings = [tokenizer.decode(ids[:i]) for i in range(len(ids))]
    logprobs = [-3.0 if beginning in unsure else -0.1 for beginning in beginnings]
    return {"text": text, "prompt_ids": [5, 6], "ids": ids, "logprobs": logprobs}


def calls_in(tokenizer, text, unsure, teacher=None, **config):
    """The answer with its calls in brackets."""
    draft = with_calls(reading(tokenizer, text, unsure), tokenizer, teacher or tokenizer, Warmup(**config))
    assert draft.prompt_ids == (5, 6) and draft.right and draft.ended and draft.own[-1] == tokenizer.hf.eos_token_id
    assert tokenizer.decode(whole(draft)[0][:-1]) == draft.text == text
    shown = ""
    for own, call in draft.parts():
        shown += tokenizer.decode(own)
        if call is not None:
            assert (teacher or tokenizer).decode(call.ids) == tokenizer.decode(call.words)
            shown += f"[{tokenizer.decode(call.words)}]"
    return shown


def test_a_call_opens_where_the_student_is_not_sure_and_ends_with_the_number(qwen3):
    for unsure in ("So 6 * 47 = ", "So 6 * 47 = 2", "So 6 * 47 = 28"):
        behind = "Given: 6 boxes, 47 each. " + unsure
        assert calls_in(qwen3, TEXT, {behind}) == "Given: 6 boxes, 47 each. So 6 * 47 = [282]. It is 282."
    assert calls_in(qwen3, TEXT, set()) == TEXT


def test_tokens_that_do_not_match_open_no_call(qwen3):
    unsure = {"Given", "Given: 6 boxes, 47 each. So 6 * 47 = "}
    assert calls_in(qwen3, TEXT, unsure) == "Given[:] 6 boxes, 47 each. So 6 * 47 = [282]. It is 282."
    assert calls_in(qwen3, TEXT, unsure, matching="[0-9]") == "Given: 6 boxes, 47 each. So 6 * 47 = [282]. It is 282."


def test_a_call_can_have_a_least_length(qwen3):
    unsure = {"Given", "Given: 6 boxes, 47 each. So 6 * 47 = "}
    shown = calls_in(qwen3, TEXT, unsure, fewest=4)
    assert shown == "Given[: 6 boxes], 47 each. So 6 * 47 = [282.] It is 282."
    assert calls_in(qwen3, "It is 282.", {"It is "}, fewest=9) == "It is [282.]"  # the answer ends before


@pytest.mark.parametrize(("below", "calls"), [(0.04, 0), (0.06, 1), (0.9, 1), (0.91, 2)])
def test_the_bound_is_a_probability(qwen3, below, calls):
    ids = qwen3.encode("it is so")
    read = {"text": "it is so", "prompt_ids": [], "ids": ids, "logprobs": [0.0, -3.0, -0.1]}  # 1, 0.05 and 0.905
    draft = with_calls(read, qwen3, qwen3, Warmup(below=below))
    assert sum(len(call.words) for call in draft.calls) == calls


PIECES = st.lists(st.sampled_from(["it is ", "4", "7", "1,250.5", " ", "🙂", "नमस्ते", "=", ".", "café"]), min_size=1)


@given(PIECES, st.data())
def test_calls_cover_what_is_needed_and_split_neither_numbers_nor_characters(qwen3, pieces, data):
    text = "".join(pieces)
    ids = qwen3.encode(text)
    opens = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    fewest = data.draw(st.integers(1, 4))
    found = list(spans(opens, ids, texts_of(qwen3, (), ids), qwen3, fewest=fewest))
    assert all(end - begin >= fewest or end == len(ids) for begin, end in found)
    covered = {i for begin, end in found for i in range(begin, end)}
    assert covered >= {i for i, needed in enumerate(opens) if needed} and bool(covered) == any(opens)
    for (_, end), (begin, _) in pairwise(found):
        assert end < begin
    for place in {place for span in found for place in span}:
        before, after = qwen3.decode(ids[:place]), qwen3.decode(ids[place:])
        assert before + after == text and not (re.search(r"\d$", before) and re.match(r"[.,]?\d", after))
        assert not (re.search(r"\d[.,]$", before) and re.match(r"\d", after))


def test_n_is_in_the_teachers_tokens(qwen3):
    other = make_tokenizer()
    unsure = {"Given: 6 boxes, 47 each. So 6 * 47 = "}
    assert "[282]" in calls_in(other, TEXT, unsure, teacher=qwen3)


def search(qwen3, folder, texts, unsure=(), **settings):
    teacher = ScriptedEngine(lambda prompt: texts[int(re.search(r"number (\d)", prompt.text)[1])], qwen3, record=True)
    student = ReadingTeacher("", qwen3, dict.fromkeys(texts, unsure))
    jobs = jobs_for([problem(f"number {i}?", 282) for i in range(len(texts))], 1, run_seed=0, stage="warmup")
    task = FixedTask(grader=lambda text, answer: text.endswith(f"{answer}."))
    options = RelaySettings(**{"max_tokens": 60, **settings})
    return transcripts(student, teacher, task, jobs, folder, CONFIG, options), student, teacher


def test_right_answers_are_read_and_nothing_is_done_twice(qwen3, tmp_path):
    texts = [TEXT, "It is 292.", "It is 282."]
    (answers, drafts), student, teacher = search(qwen3, tmp_path, texts, ("It is ",))
    assert [row["right"] for row in answers] == [True, False, True] and student.read_texts == [TEXT, "It is 282."]
    assert [len(draft.calls) for draft in drafts] == [0, 1] and len(teacher.requests) == 3
    assert teacher.requests[0][1].temperature == 0.0
    again, student, teacher = search(qwen3, tmp_path, texts, ("It is ",))
    assert again == (answers, drafts) and student.read_texts == [] and teacher.requests == []


def test_an_answer_with_more_or_longer_calls_than_are_allowed_is_left_out(qwen3, tmp_path):
    unsure = ("It", "It is ")
    counts = {}
    for name, limits in {"free": {}, "few": {"max_calls": 1}, "short": {"max_call_tokens": 2}}.items():
        (_, drafts), _, _ = search(qwen3, tmp_path / name, ["It is 282."], unsure, **limits)
        counts[name] = [len(draft.calls) for draft in drafts]
    assert counts == {"free": [2], "few": [], "short": []}


def test_a_teacher_that_is_never_right_is_refused(qwen3, tmp_path):
    with pytest.raises(ConfigurationError, match=r"none of 1 problems right \(0 answers were cut off\)"):
        search(qwen3, tmp_path, ["It is 292."])


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match=r"warmup\.matching is '\['.*write one, such as '\[0-9\]'"):
        build({"warmup": {"matching": "["}})
    with pytest.raises(ConfigurationError, match=r"warmup\.below is 50"):
        build({"warmup": {"below": 50}})


def test_the_stage_reads_with_the_student_that_is_trained(tmp_path, capsys):
    flags = [
        "--warmup", "answers", "--warmup.problems", "16", "--warmup.temperature", "0",
        "--warmup.blocked_problems", "0", "--warmup.below", "0.7", "--measure.problems", "4", "--out", str(tmp_path),
        "--json",
    ]  # fmt: skip
    assert main(["warmup", *flags]) == 0
    assert json.loads(capsys.readouterr().out) == {"student": str(tmp_path / "student-warm")}
    report = json.loads((tmp_path / "warmup" / "rows.json").read_text())
    assert (
        report["source"] == "answers" and report["answers"] == 16 and report["calls"] >= report["rows_with_calls"] > 3
    )
    assert report["right"] >= report["rows"] and report["teacher_read"] > 16 * 20 and report["teacher_wrote"] > 16 * 20
    card = tmp_path / "student-warm" / "README.md"
    assert "on right answers of bundled" in card.read_text() and "It was not trained with GRPO." in card.read_text()
    assert "grpo" not in card.read_text().partition("---\n\n")[0] and "held-out" not in card.read_text()
    assert main(["measure", *flags]) == 0  # the relay is that of the warmed-up student
    measured = json.loads(capsys.readouterr().out)
    assert [*measured["methods"]] == ["teacher", "student-base", "relay", "student-warm"]
    assert "4 held-out problems, greedy decoding. `relay` is `student-warm` with calls allowed" in card.read_text()
