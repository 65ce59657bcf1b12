"""What `relay tune` searches: the bias of commands here, the bounds of `uncertain` and `hidden` in test_tune.py."""

import math
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import (
    Chunk,
    Commands,
    ConfigurationError,
    Prices,
    Prompt,
    RelaySettings,
    Sampling,
    ScriptedEngine,
    Wrapped,
)
from relay_core.evaluate.agreement import scorer_for
from relay_core.evaluate.answers import Answers
from relay_core.evaluate.calibrate import Round, bias_for, calibrate_bias, is_near
from relay_core.evaluate.prompts import Prompts
from relay_core.evaluate.searches import Biases
from relay_core.evaluate.tune import Tuner
from relay_core.evaluate.tune_report import TuneReport
from testing.doubtful import doubtful_student, sure_teacher
from testing.tasks import problem


def calling(most: float, middle: float, width: float):
    """A student whose call ratio rises with the bias, from 0 to ``most``; half of it at the bias ``middle``."""
    measured: list[float] = []

    async def measure(commands: Commands) -> float:
        measured.append(commands.bias)
        return most / (1 + math.exp(min(700, (middle - commands.bias) / width)))

    return measured, measure


@given(
    most=st.floats(0.2, 0.9),
    middle=st.floats(-4, 8),
    width=st.floats(0.3, 3),
    target=st.sampled_from([0.01, 0.03, 0.1]),
)
async def test_a_bias_for_the_target_is_found_in_a_few_measurements(most, middle, width, target):
    measured, measure = calling(most, middle, width)
    wanted = middle - width * math.log(most / target - 1)
    rounds = await calibrate_bias(Commands(8), target, measure=measure)
    assert measured[0] == 0 and len(measured) == len(rounds) == len(set(measured)) <= 9
    assert rounds == sorted(rounds, key=lambda r: r.miss(target)) and all(r.trigger.n == 8 for r in rounds)
    if abs(wanted) < 10:
        assert is_near(rounds[0].measured, target), (wanted, measured)


async def test_a_student_with_a_plateau_is_brought_to_a_target_on_its_edge():
    """As the bundled one: sure of its calls, so that almost all of them go at once."""
    measured, measure = calling(0.012, -3.4, 0.08)
    rounds = await calibrate_bias(Commands(), 0.006, measure=measure)
    assert is_near(rounds[0].measured, 0.006) and len(measured) <= 9, measured


async def test_what_no_bias_reaches_is_given_up_at_the_largest():
    for always in (0.0, 0.5):
        rounds = await calibrate_bias(Commands(), 0.05, measure=lambda commands, always=always: _is(always))
        biases = [r.trigger.bias for r in rounds]
        assert max(map(abs, biases)) == 16 and len(biases) <= 9 and all(b <= 0 for b in biases) == bool(always)


async def _is(ratio: float) -> float:
    return ratio


def test_neighbours_lie_between_and_beyond_what_was_measured():
    done = [Round(Commands(bias=b), None, ratio) for b, ratio in ((0.0, 0.08), (-2.0, 0.02), (-1.0, 0.04))]
    assert bias_for(Commands(), done, 0.0566).bias == pytest.approx(-0.5, abs=0.02)
    assert bias_for(Commands("rest"), done, 0.01) == Commands("rest", -4.0)
    assert bias_for(Commands(), done, 0.16).bias == 1.0
    assert Biases().beside([], done[2], done) == [Commands(bias=-2.0), Commands()]


class Obedient(Wrapped):
    """Calls for the first questions only; for how many of 40, the bias decides."""

    def __init__(self) -> None:
        super().__init__(ScriptedEngine([["A <call>2</call>"], [" end."]], tokenizer="bundled", biases_logits=True))
        self.alone = ScriptedEngine("A and no call at all.", tokenizer="bundled")

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        number = int(str(prompt.messages[-1]["content"]).split()[1])
        bias = max(sampling.logit_bias.values()) if sampling.logit_bias else 0.0
        calls = prompt.turn > 0 or number < 40 / (1 + math.exp(-bias))
        async for chunk in (self.inner if calls else self.alone).stream(prompt, sampling):
            yield chunk


@pytest.mark.parametrize(("target", "least", "most"), [(0.03, -3, -0.5), (0.15, 0.3, 4)])
async def test_a_bias_is_chosen_and_measured_on_held_out_prompts(target, least, most):
    problems = [problem(f"question {i}", None) for i in range(40)]
    teacher = ScriptedEngine("ok so", tokenizer="bundled")
    tuned = await Tuner(
        student=Obedient(), teacher=teacher, scorer=scorer_for(Prompts(problems), grader=None, has_answers=False),
        prices=Prices(), settings=RelaySettings(max_calls=None), answers=Answers(), target=target, search=Biases(),
    ).tune(problems)  # fmt: skip
    assert least < tuned.chosen.bias < most and is_near(tuned.figures.call_ratio, target, 0.5)
    assert tuned.figures.prompts == 20 and tuned.settings[0][0] == tuned.chosen
    by_bias = sorted((trigger.bias, figures.calls) for trigger, figures in tuned.settings)
    assert len(by_bias) >= 3 and by_bias == sorted(by_bias, key=lambda both: both[1]) and by_bias[0][1] < by_bias[-1][1]
    report = TuneReport(tuned, target, scorer_for(Prompts(problems), grader=None, has_answers=False))
    assert report.verdict().startswith(f"commands:bias={tuned.chosen.bias:g}: the teacher writes")
    assert report.as_dict()["rounds"][0]["foretold_ratio"] is None


async def test_a_student_that_never_calls_is_sent_to_another_trigger():
    problems = [problem(f"question {i}", None) for i in range(8)]
    student = doubtful_student()
    student.biases_logits = True
    student._tokenizer_source = "bundled"
    scorer = scorer_for(Prompts(problems), grader=None, has_answers=False)
    with pytest.raises(ConfigurationError, match=r"neither trained nor told to call needs --trigger uncertain"):
        await Tuner(
            student=student, teacher=sure_teacher(), scorer=scorer, prices=Prices(), answers=Answers(),
            settings=RelaySettings(max_calls=None), search=Biases(),
        ).tune(problems)  # fmt: skip
