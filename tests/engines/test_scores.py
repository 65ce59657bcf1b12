import math

from relay_core.engines.scores import Scorer, from_prompt, text_to_score


def test_scores_are_read_from_the_end_of_a_prompt():
    text = text_to_score([5, 6], [7, 8], 9)
    assert text == [5, 6, 7, 8, 9]
    places = [None, {6: -0.5}, {7: -3.0, 1: -0.25}, {8: -0.5}, {9: -4.0, 2: -1.0}]
    scores = from_prompt(places, [7, 8], 9)
    assert (scores.logprobs, scores.top_logprobs, scores.end_gap) == ([-3.0, -0.5], [-0.25, -0.5], 3.0)


def test_a_model_without_an_end_token_never_ends():
    assert text_to_score([5], [7], None) == [5, 7]
    scores = from_prompt([None, {7: -3.0, 1: -0.25}], [7], None)
    assert (scores.logprobs, scores.end_gap) == ([-3.0], math.inf)


def test_engines_that_score(qwen3):
    from relay_core import OpenAIEngine, ScriptedEngine, VLLMEngine

    assert issubclass(OpenAIEngine, Scorer) and issubclass(VLLMEngine, Scorer)
    assert not isinstance(ScriptedEngine("x", qwen3), Scorer)
