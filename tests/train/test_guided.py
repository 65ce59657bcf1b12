"""Guided warm-up on scripted models, where every token is known, and on the bundled pair."""

import re

import pytest

from relay_core import ConfigurationError, EngineError, RelaySettings, ScriptedEngine, engine_from_spec, portal
from relay_core.evaluate.seeds import answer_seed
from relay_core.evaluate.task import task_from_spec
from relay_core.train import guided
from relay_core.train.guided import Guide, check, training_row
from relay_core.train.jobs import jobs_for
from relay_core.train.replay import Draft
from relay_core.train.sections import Warmup
from relay_core.train.supervised import IGNORED
from testing.graders import none_of_it
from testing.reading_teacher import ReadingTeacher, follows
from testing.tasks import FixedTask, problem
from testing.tiny_transformers import make_tokenizer

QUESTION = "A cup costs 47 coins. What do 6 cups cost?"


def ends_with_282(text: str, answer: object) -> bool:
    return text.endswith("282.")


def guide(student, teacher, config=None, grader=ends_with_282, **settings) -> Guide:
    task = FixedTask(grader=grader)
    values = {"max_tokens": 60, "on_teacher_stop": "continue", **settings}
    return Guide(student, teacher, task, config or Warmup(source="guided"), RelaySettings(**values), 5)


def jobs(*questions: str):
    return jobs_for([problem(q, None) for q in questions], 1, run_seed=5, stage="warmup")


def one(guide: Guide, folder) -> dict:
    (row,) = guide.transcripts(jobs(QUESTION), folder)
    return row


def end(tokenizer) -> int:
    return int(tokenizer.hf.eos_token_id)


def test_a_call_opens_before_the_number_that_the_teacher_objects_to(qwen3, tmp_path):
    alone = "6 cups cost 47 * 6 = 292. So 292."
    student = ScriptedEngine(follows({"": alone, "6 cups cost 47 * 6 = 282": ". So 282."}), qwen3, record=True)
    # It objects to the 9, behind a first digit that is right; and later to the sentence that repeats the result.
    teacher = ReadingTeacher("282", qwen3, {alone: ["6 cups cost 47 * 6 = 2", "6 cups cost 47 * 6 = 292. So 2"]})
    row = one(guide(student, teacher), tmp_path)
    assert (row["right"], row["alone"], row["samples"]) == (True, False, 2)
    draft = Draft.from_dict(row["draft"])
    before, after = qwen3.encode("6 cups cost 47 * 6 = "), [*qwen3.encode(". So 282."), end(qwen3)]
    assert [(c.at, list(c.ids)) for c in draft.calls] == [(len(before), qwen3.encode("282"))]
    command = qwen3.encode("<call>3</call>")  # five tokens were asked for, three came
    trained = training_row(draft, qwen3.encode)
    prompt = list(student.requests[0][0].token_ids)
    assert trained["input_ids"] == [*prompt, *before, *command, *qwen3.encode("282"), *after]
    ignored = [IGNORED] * len(prompt), [IGNORED] * 3
    assert trained["labels"] == [*ignored[0], *before, *command, *ignored[1], *after]
    assert teacher.read_texts == [alone]  # once; the right answer is not read
    assert [prompt.continuation for prompt, _ in teacher.requests] == ["6 cups cost 47 * 6 = "]
    seeds = [answer_seed(5, "warmup", number, QUESTION, 0) for number in (0, 1)]
    assert student.requests[0][1].seed == seeds[0] and len({s.seed for _, s in student.requests}) == 2
    assert {s.temperature for _, s in student.requests} == {1.0}


def test_a_right_answer_has_no_call_and_is_not_read(qwen3, tmp_path):
    teacher = ReadingTeacher("", qwen3, {})
    row = one(guide(ScriptedEngine("It is 282.", qwen3), teacher), tmp_path)
    assert row["right"] and row["alone"] and not Draft.from_dict(row["draft"]).calls
    assert teacher.read_texts == [] and row["teacher_read"] == 0


def test_words_travel_between_vocabularies_and_n_counts_the_teachers_tokens(qwen3, tmp_path):
    other = make_tokenizer()
    other.hf.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    student = ScriptedEngine(follows({"": "It is naïve 292.", "It is naïve 282": "."}), qwen3)
    teacher = ReadingTeacher("282 coins in all", other, {"It is naïve 292.": ["It is naïve 2"]})
    draft = Draft.from_dict(one(guide(student, teacher, Warmup(call_tokens=3)), tmp_path)["draft"])
    assert draft.text == "It is naïve 282."
    (call,) = draft.calls
    assert list(call.ids) == other.encode("282") and list(call.words) == qwen3.encode("282")
    assert "<call>3</call>" in qwen3.decode(training_row(draft, qwen3.encode)["input_ids"])


ALONE = "Well, 47 * 6 = 292."
STYLED = "Now, 47 * 6 = 272."
TWO_FAULTS = {ALONE: ["", "Well, 47 * 6 = 2"], STYLED: ["Now, 47 * 6 = "]}


def styled_student(qwen3) -> ScriptedEngine:
    """It is wrong alone, and with another beginning; right where the teacher writes the result."""
    turns = {"": ALONE, "Now,": " 47 * 6 = 272.", "Now, 47 * 6 = 282": ".", "Well, 47 * 6 = 282": "."}
    return ScriptedEngine(follows(turns), qwen3, record=True)


def styling_teacher(qwen3, objects=TWO_FAULTS) -> ReadingTeacher:
    return ReadingTeacher(follows({"": "Now,", "Now, 47 * 6 = ": "282", "Well, 47 * 6 = ": "282"}), qwen3, objects)


def test_each_round_reads_the_new_answer_and_replays_the_calls_before(qwen3, tmp_path):
    student, teacher = styled_student(qwen3), styling_teacher(qwen3)
    row = one(guide(student, teacher), tmp_path)
    draft = Draft.from_dict(row["draft"])
    assert row["right"] and draft.text == "Now, 47 * 6 = 282." and len(draft.calls) == 2
    assert teacher.read_texts == [ALONE, STYLED]
    assert len(teacher.requests) == 2  # the first call is played back in the second round
    assert [p.continuation for p, _ in student.requests] == ["", "Now,", "Now, 47 * 6 = 282"]
    assert row["teacher_wrote"] == len(qwen3.encode("Now,")) + 3
    only_one = guide(styled_student(qwen3), styling_teacher(qwen3), Warmup(rounds=1))
    assert not one(only_one, tmp_path / "rounds")["right"]
    refused = guide(styled_student(qwen3), styling_teacher(qwen3), max_calls=1)
    assert not one(refused, tmp_path / "max_calls")["right"]


def test_prune_leaves_out_the_call_that_repaired_the_style(qwen3, tmp_path):
    student, teacher = styled_student(qwen3), styling_teacher(qwen3)
    row = one(guide(student, teacher, Warmup(prune=True)), tmp_path)
    draft = Draft.from_dict(row["draft"])
    assert row["right"] and draft.text == "Well, 47 * 6 = 282."
    assert [call.at for call in draft.calls] == [len(qwen3.encode("Well, 47 * 6 = "))]
    assert teacher.read_texts == [ALONE, STYLED]  # nothing is read twice


def test_prune_keeps_a_call_without_which_the_answer_is_wrong(qwen3, tmp_path):
    turns = {"": ALONE, "Now,": " 47 * 6 = 272.", "Now, 47 * 6 = 282": ".", "Well, 47 * 6 = 282": ". I mean 292."}
    row = one(guide(ScriptedEngine(follows(turns), qwen3), styling_teacher(qwen3), Warmup(prune=True)), tmp_path)
    assert row["right"] and Draft.from_dict(row["draft"]).text == "Now, 47 * 6 = 282." and row["samples"] == 4


def test_a_call_that_ended_too_early_is_made_longer(qwen3, tmp_path):
    student = ScriptedEngine(follows({"": "It is 292.", "It is 28": "9.", "It is 282.": ""}), qwen3)
    teacher = ReadingTeacher("282.", qwen3, {"It is 292.": ["It is 2"], "It is 289.": ["It is 28"]})
    draft = Draft.from_dict(one(guide(student, teacher, Warmup(call_tokens=2)), tmp_path)["draft"])
    assert draft.right and [list(call.ids) for call in draft.calls] == [qwen3.encode("282.")]
    capped = guide(student, teacher, Warmup(call_tokens=2), max_call_tokens=2)
    assert not one(capped, tmp_path / "capped")["right"]


def test_the_teacher_may_object_to_the_end(qwen3, tmp_path):
    student = ScriptedEngine(follows({"": "Six times 47.", "Six times 47. It is 282.": ""}), qwen3)
    teacher = ReadingTeacher(" It is 282.", qwen3, {"Six times 47.": ["Six times 47."]})
    draft = Draft.from_dict(one(guide(student, teacher, Warmup(call_tokens=9)), tmp_path)["draft"])
    assert draft.right and draft.calls[0].at == len(qwen3.encode("Six times 47."))


@pytest.mark.parametrize(
    ("alone", "teacher_says", "settings"),
    [
        ("It is <call>8</call> 292.", "282.", {}),  # a student that writes commands of its own
        ("It is 292.", "", {}),  # the teacher has nothing to add
        ("It is 292.", "282.", {"max_teacher_tokens": 0}),
    ],
)
def test_what_cannot_be_made_as_planned_is_not_kept(qwen3, tmp_path, alone, teacher_says, settings):
    student = ScriptedEngine(lambda p: alone if not p.continuation else "", qwen3)
    teacher = ReadingTeacher(teacher_says, qwen3, {alone: ["It is ", "It is 2"]})
    assert not one(guide(student, teacher, **settings), tmp_path)["right"]


def test_an_answer_that_a_limit_cut_is_wrong(qwen3, tmp_path):
    student, teacher = ScriptedEngine("It is 282. " * 20, qwen3), ReadingTeacher("", qwen3, {})
    row = one(guide(student, teacher, grader=lambda text, answer: "282" in text), tmp_path)
    assert "282" in row["draft"]["text"] and not row["right"]


def test_a_killed_run_samples_and_reads_nothing_twice(qwen3, tmp_path, monkeypatch):
    monkeypatch.setattr(guided, "LIMIT", 1)  # so that a failure cancels no other work
    questions = [f"{QUESTION} ({i})" for i in range(3)]

    def run(folder, fails_at=None):
        student, teacher = styled_student(qwen3), styling_teacher(qwen3)
        read, done = teacher.scores, 0

        async def failing(*args):
            nonlocal done
            done += 1
            if done == fails_at:
                raise EngineError("killed")
            return await read(*args)

        teacher.scores = failing
        try:
            rows = guide(student, teacher, Warmup(prune=True)).transcripts(jobs(*questions), folder)
        except EngineError:
            rows = None
        return rows, len(student.requests) + len(teacher.requests) + len(teacher.read_texts)

    whole, work = run(tmp_path / "whole")
    for fails_at in range(1, 7):
        folder = tmp_path / str(fails_at)
        none, first = run(folder, fails_at)
        rows, second = run(folder)
        assert none is None and rows == whole
        assert work <= first + second <= work + 1  # at most the sample that was under way is drawn again
        assert (folder / "guided.jsonl").read_bytes() == (tmp_path / "whole" / "guided.jsonl").read_bytes()
        assert [path.name for path in folder.iterdir()] == ["guided.jsonl"]
    assert run(tmp_path / "whole") == (whole, 0)
    with pytest.raises(ConfigurationError, match="other problems"):
        guide(styled_student(qwen3), styling_teacher(qwen3)).transcripts(jobs("another"), tmp_path / "whole")


def test_a_teacher_that_cannot_read_is_refused(qwen3):
    with pytest.raises(ConfigurationError, match=r"guided.*cannot: write a teacher in this process.*--warmup told"):
        check(ScriptedEngine("x", qwen3))

    class NoPromptLogprobs(ReadingTeacher):
        async def scores(self, prompt_ids, ids):
            raise ConfigurationError("openai:m@http://x: its server does not report them")

    with pytest.raises(ConfigurationError, match=r"guided.*does not report them.*--warmup told"):
        check(NoPromptLogprobs("x", qwen3, {}))
    teacher = ReadingTeacher("x", qwen3, {})
    check(teacher)
    assert len(teacher.read_texts) == 1  # it was tried


def test_on_the_bundled_pair_calls_stand_before_the_product(tmp_path):
    """The base student gets every product wrong, and hardly anything else."""
    task = task_from_spec("bundled")
    problems = task.problems("train", 24, seed=3, mix={"easy": 0.25, "medium": 0.75, "hard": 0.0})
    student, teacher = engine_from_spec("bundled:student-base"), engine_from_spec("bundled:teacher")
    config = Warmup(source="guided", temperature=0.0, prune=True)
    settings = RelaySettings(max_tokens=288, teacher_temperature=0.0)
    try:
        found = Guide(student, teacher, task, config, settings, 0).transcripts(
            jobs_for(problems, 1, run_seed=0, stage="warmup"), tmp_path
        )
        words = student.tokenizer
        kept = [
            (p.group, Draft.from_dict(row["draft"])) for row, p in zip(found, problems, strict=True) if row["right"]
        ]
    finally:
        for engine in (student, teacher):
            portal.run(engine.aclose)
    medium = [draft for group, draft in kept if group == "medium"]
    assert len(medium) >= 15
    for draft in medium:
        (call,) = draft.calls
        assert re.search(r"\d+ \* \d = $", words.decode(draft.own[: call.at]))
        assert re.fullmatch(r"\d{3}", words.decode(call.words)), "the product alone: the student goes on by itself"
    assert not any(draft.calls for group, draft in kept if group == "easy")


def test_an_answer_that_cannot_be_graded_is_counted_and_not_trained_on(qwen3, tmp_path):
    searcher = guide(ScriptedEngine("?", qwen3), ReadingTeacher("", qwen3, {}), grader=none_of_it)
    for _ in range(2):  # the second time from the disk
        row = one(searcher, tmp_path)
        assert (row["right"], row["alone"], row["draft"], row["samples"], row["ungraded"]) == (False, False, None, 1, 1)
