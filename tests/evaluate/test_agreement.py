import pytest

from relay_core import ConfigurationError
from relay_core.evaluate.agreement import common_subsequence, rouge_l, scorer_for
from relay_core.evaluate.prompts import Prompts
from testing.graders import none_of_it
from testing.tasks import FixedTask, problem

ONE = problem("1 + 1?", 2)


def test_rouge_l():
    assert rouge_l("The cat sat.", "the cat, sat") == 1.0
    assert rouge_l("a b c d", "a c d e f") == pytest.approx(2 * 3 / 9)
    assert rouge_l("a", "b") == 0.0 and rouge_l("", "a") == 0.0 and rouge_l("?", "!") == 1.0


def test_the_longest_common_subsequence_is_that_of_the_plain_table():
    import random

    rng = random.Random(0)
    for _ in range(50):
        a, b = ([rng.choice("abc") for _ in range(rng.randrange(1, 90))] for _ in range(2))
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
        assert common_subsequence(a, b) == table[-1][-1]


def test_right_answers_give_accuracy():
    scorer = scorer_for(Prompts([ONE]), grader="number", has_answers=True)
    assert scorer.name == "accuracy" and scorer.graded and "number" in scorer.how
    assert scorer.score("It is 2.", ONE, "3") == 1.0 and scorer.score("3", ONE, "3") == 0.0
    by_task = scorer_for(Prompts([ONE], FixedTask()), grader=None, has_answers=False)
    assert by_task.score("\\boxed{2}", ONE, "") == 1.0 and by_task.score("2", ONE, "") == 0.0 and by_task.graded


@pytest.mark.parametrize("grader", ["number", "math"])
def test_without_answers_a_grader_compares_with_the_teacher(grader):
    scorer = scorer_for(Prompts([ONE]), grader=grader, has_answers=False)
    assert scorer.name == "agreement" and scorer.graded
    teacher = "First 2 * 3 = 6, so that the result is 7."
    assert scorer.score("I get 7", ONE, teacher) == 1.0 and scorer.score("I get 6", ONE, teacher) == 0.0


def test_without_answers_and_grader_words_are_compared():
    scorer = scorer_for(Prompts([ONE]), grader=None, has_answers=False)
    assert scorer.name == "agreement" and not scorer.graded and "ROUGE-L" in scorer.how
    assert scorer.score("a b", ONE, "a b") == 1.0


@pytest.mark.parametrize("grader", ["choice", "regex:x"])
def test_graders_that_need_a_bare_answer_cannot_compare_texts(grader):
    with pytest.raises(ConfigurationError, match="cannot compare two texts"):
        scorer_for(Prompts([ONE]), grader=grader, has_answers=False)


def test_an_answer_that_cannot_be_graded_has_no_score():
    for has_answers in (True, False):
        scorer = scorer_for(Prompts([ONE]), grader="testing.graders:none_of_it", has_answers=has_answers)
        assert scorer.score("?", ONE, "2") is None and scorer.score("is 2", ONE, "2") == 1.0
    task = FixedTask([ONE], none_of_it)
    assert scorer_for(Prompts([ONE], task), grader=None, has_answers=False).score("?", ONE, "") is None
