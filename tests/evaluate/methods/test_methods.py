"""Every method answers the same few problems on scripted models; what it wrote, and by whom, is known exactly."""

import pytest

from relay_core import Commands, Uncertain
from relay_core.errors import ConfigurationError
from relay_core.evaluate.methods import Question, method_from_spec, methods_from, split_specs
from testing.evaluations import PROBLEMS, models

EASY, HARD = PROBLEMS[1], PROBLEMS[5]


async def outcome(spec, problem, *, seed=0, settings=None, the_models=None):
    method = method_from_spec(spec, the_models or models())
    question = Question(problem=problem, sample=0, seed=seed, settings=settings or {})
    sources = {source.spec: await source.answer(question, {}) for source in method.sources}
    return await method.answer(question, sources)


@pytest.mark.parametrize(
    ("spec", "text", "teacher_tokens", "calls"),
    [
        ("student", "It is unknown to me.", 0, 0),
        ("teacher", "It is \\boxed{1}. So it is.", 26, 0),
        ("relay", "It is \\boxed{1}.", 9, 1),
        ("teacher-free", "It is ", 0, 0),
        ("fixed:3", "It is \\bo.", 3, 1),
        ("hand-off", "It is \\boxed{1}. So it is.", 20, 1),
        ("uncertain:0.5,9", "It is \\boxed{1} ok.", 9, 1),
        ("random-tokens:1,100", "It is \\boxed{1}. So it is.", 26, 1),
        ("random-router:1", "It is \\boxed{1}. So it is.", 26, 0),
        ("random-router:0", "It is unknown to me.", 0, 0),
        ("grpo:scripted", "It is unknown to me.", 0, 0),
        ("relay-simple:scripted", "It is \\boxed{1} ok.", 9, 1),
    ],
)
async def test_who_writes_what(spec, text, teacher_tokens, calls, monkeypatch):
    the_models = models()
    monkeypatch.setattr(
        type(the_models), "engine", lambda self, model, role: self.base if model == "scripted" else model
    )
    if spec.startswith("relay-simple"):
        the_models.settings = the_models.settings.merged({"trigger": "uncertain:0.5,9"})
    got = await outcome(spec, HARD, the_models=the_models)
    assert got.text == text
    assert (got.usage.teacher_tokens, got.usage.calls) == (teacher_tokens, calls)
    assert "".join(part.text for part in got.parts if part.author != "command") == text
    assert sum(part.tokens for part in got.parts) == got.usage.completion_tokens
    assert [call.received for call in got.calls] == ([teacher_tokens] if calls else [])


async def test_where_a_call_falls():
    got = await outcome("relay", HARD)
    (call,) = got.calls
    assert (call.place, call.requested, call.received, call.error) == (6 + 14, 9, 9, None)  # behind "It is " and 14


async def test_instructions_are_told_to_the_untrained_student_only():
    the_models = models()
    await outcome("told", HARD, the_models=the_models)
    (request, *_), _ = zip(*the_models.base.requests, strict=True)
    assert "<call>" in request.messages[0]["content"]
    await outcome("student", HARD, the_models=the_models)
    assert "<call>" not in the_models.base.requests[-1][0].messages[0]["content"]


async def test_a_cascade_pays_for_the_answer_that_it_discards():
    student, teacher, kept, replaced = [
        await outcome(spec, problem, the_models=models("bundled"))
        for spec, problem in (
            ("student", HARD), ("teacher", HARD), ("cascade:min,-0.5", EASY), ("cascade:mean,-0.05", HARD)
        )
    ]  # fmt: skip
    assert kept.chose == "student" and kept.usage.teacher_tokens == 0
    assert replaced.chose == "teacher" and replaced.text == teacher.text
    assert replaced.usage.discarded_tokens == student.usage.student_tokens
    assert replaced.usage.teacher_tokens == teacher.usage.teacher_tokens
    assert replaced.usage.student_prompt_tokens == student.usage.student_prompt_tokens
    assert replaced.usage.call_ratio == 1


async def test_a_router_throws_the_same_coin_again_and_sends_its_share():
    sent = [(await outcome("random-router:0.3", HARD, seed=seed)).chose for seed in range(200)]
    again = [(await outcome("random-router:0.3", HARD, seed=seed)).chose for seed in range(200)]
    assert sent == again and 40 < sent.count("teacher") < 80


async def test_the_benchmarks_settings_are_the_students_and_not_those_of_a_teacher_with_its_own():
    the_models = models(teacher_temperature=0.25)
    for spec in ("student", "teacher", "relay"):
        await outcome(spec, HARD, settings={"temperature": 0.75, "max_tokens": 20}, the_models=the_models)
    assert the_models.base.requests[0][1].temperature == 0.75
    assert {sampling.temperature for _, sampling in the_models.teacher.requests} == {0.25}
    assert the_models.teacher.requests[0][1].max_tokens == 20


def test_methods_are_separated_by_spaces_or_commas():
    text = "student,relay uncertain:0.4,8,2, cascade:min,-0.5 relay,teacher=openai:m@http://h/v1 fixed:20"
    assert split_specs(text) == [
        "student", "relay", "uncertain:0.4,8,2", "cascade:min,-0.5", "relay,teacher=openai:m@http://h/v1", "fixed:20"
    ]  # fmt: skip
    assert [m.spec for m in methods_from(["student relay", "relay"], models())] == ["student", "relay"]


def test_a_pair_by_spec_has_its_own_models_label_and_curve():
    the_models = models()
    other = method_from_spec("relay,teacher=bundled:student-base", the_models)
    assert other.relay.teacher.spec == "bundled:student-base" and other.relay.student is the_models.student
    assert other.label == other.curve == "relay (teacher bundled:student-base)"
    assert method_from_spec("fixed:20", the_models).relay.settings.trigger == Commands(20)


def test_biases_of_a_student_are_one_curve():
    plain, fewer, more = methods_from(["relay relay:bias=-2,relay:bias=0.5"], models())
    assert [m.relay.settings.trigger for m in (plain, fewer, more)] == [
        Commands(),
        Commands(bias=-2),
        Commands(bias=0.5),
    ]
    assert [m.label for m in (plain, fewer, more)] == ["relay", "relay bias -2", "relay bias 0.5"]
    assert {m.curve for m in (plain, fewer, more)} == {"relay"}
    question = Question(problem=EASY, sample=0, seed=1, settings={})
    assert "Commands(n=None)" in str(plain.decisive(question))  # answers from before there was a bias are found
    assert len({str(m.decisive(question)) for m in (plain, fewer, more)}) == 3


def test_a_bias_keeps_the_length_of_calls_and_needs_commands():
    fixed = method_from_spec("relay:bias=-2", models(trigger=Commands(20)))
    assert fixed.relay.settings.trigger == Commands(20, bias=-2)
    biased = models(trigger=Commands(bias=-2))
    specs = ("fixed:20", "hand-off", "relay", "relay:bias=1")
    assert [str(method_from_spec(spec, biased).relay.settings.trigger) for spec in specs] == [
        "commands:20,bias=-2", "commands:rest,bias=-2", "commands:bias=-2", "commands:bias=1"
    ]  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"for students that call; the trigger of this run is uncertain:0.4,8"):
        method_from_spec("relay:bias=-2", models(trigger=Uncertain(0.4, 8)))


def test_two_methods_of_one_label_are_refused():
    with pytest.raises(ConfigurationError, match=r"'relay,label=a' and 'student,label=a' have one label"):
        methods_from(["relay,label=a student,label=a"], models())


def test_a_limit_is_in_the_label_and_changes_no_answer():
    few, all_ = methods_from(["uncertain:0.4,8,limit=20 uncertain:0.4,8"], models())
    assert (few.limit, all_.limit) == (20, None)
    assert (few.label, few.curve) == (f"{all_.label}, 20 problems", all_.curve)
    question = Question(problem=EASY, sample=0, seed=1, settings={})
    assert few.decisive(question) == all_.decisive(question)


def test_a_label_of_ones_own_is_the_methods_name_in_reports():
    text = "relay,teacher=bundled:student-base,label=with the base uncertain:0.4,8,label=my bound, student"
    weak, unsure, alone = methods_from([text], models())
    assert weak.label == weak.curve == "with the base" and weak.relay.teacher.spec == "bundled:student-base"
    assert unsure.label == unsure.curve == "my bound" and unsure.relay.settings.trigger == Uncertain(0.4, 8)
    assert alone.label == "student alone"
    plain = method_from_spec("uncertain:0.4,8", models())
    question = Question(problem=EASY, sample=0, seed=1, settings={})
    assert plain.decisive(question) == unsure.decisive(question)  # a label makes no new answers


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("relai", "did you mean relay"), ("fixed", "such as fixed:20"), ("fixed:0", "such as fixed:20"),
        ("student:1", "takes no arguments"), ("relay:1", "such as relay:bias=-2"),
        ("relay:bias=x", "such as relay:bias=-2"), ("relay:bias=nan", "such as relay:bias=-2"),
        ("relay:bias=200", "from -100 to 100"), ("relay:n=2", "such as relay:bias=-2"),
        ("speculative:0", "speculative:5"), ("speculative:x", "speculative:5"),
        ("relay,lable=x", "no 'lable'; did you mean label"),
        ("student,limit=0", "limit=100"), ("student,limit=few", "limit=100"),
        ("uncertain:2,8", "probability"), ("cascade:mean", "cascade:min,-1.2"),
        ("random-router:2", "random-router:0.5"), ("grpo", "grpo:MODEL"), ("relay-simple", "relay-simple:MODEL"),
    ],
)  # fmt: skip
def test_bad_methods_say_what_to_write(spec, said):
    with pytest.raises(ConfigurationError, match=said):
        method_from_spec(spec, models())


def test_each_model_is_loaded_once_and_a_report_says_how_often_it_calls():
    the_models = models()
    one = the_models.engine("bundled:student-base", "student")
    assert the_models.engine("bundled:student-base", "student") is the_models.engine("bundled:student-base", "teacher")
    assert not one.warns_without_commands


async def test_a_cascade_needs_log_probabilities():
    the_models = models()
    the_models.base._logprob = None
    with pytest.raises(ConfigurationError, match="log-probabilities"):
        await outcome("cascade:min,-1", EASY, the_models=the_models)
