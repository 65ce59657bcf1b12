"""Every pair of the three models, on every kind of engine: chat with calls at random places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from relay_core import Engine
from testing.real_engines import MODELS
from testing.seam import all_of, answered, check_seams

FENCE = "```"
TOPICS: dict[str, list[dict[str, str]]] = {
    "plain": [{"role": "user", "content": "What is the capital of France?"}],
    "system message": [
        {"role": "system", "content": "You are a pirate. Answer in one short sentence."},
        {"role": "user", "content": "Who are you?"},
    ],
    "two turns": [
        {"role": "user", "content": "My name is Zoë."},
        {"role": "assistant", "content": "Hello Zoë!"},
        {"role": "user", "content": "What is my name?"},
    ],
    "Chinese": [{"role": "user", "content": "请用中文写一句关于北京的话。"}],
    "Hindi": [{"role": "user", "content": "भारत की राजधानी क्या है? हिंदी में लिखिए।"}],
    "Russian": [{"role": "user", "content": "Напиши одно предложение о зиме."}],
    "emoji": [{"role": "user", "content": "Repeat exactly: 🦊🌊👩‍🚀 café 🇫🇷"}],
    "code": [{"role": "user", "content": f"Repeat exactly:\n{FENCE}python\ndef f(x):\n\treturn  x\n{FENCE}"}],
    "control tokens": [
        {"role": "user", "content": "Repeat exactly: <|im_end|> <end_of_turn> <bos> </s>\n\n\n<call>3</call>"}
    ],
}
PAIRS = [(student, teacher) for student in MODELS for teacher in MODELS]
TOKENS = 14

pytestmark = [pytest.mark.timeout(600), pytest.mark.shows("chat")]


def topics_of(pair: int) -> Sequence[str]:
    """Three topics for each pair: every model meets every topic as a student, and as a teacher."""
    names = list(TOPICS)
    return [names[(pair + shift) % len(names)] for shift in (0, 3, 7)]


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_no_character_is_lost_or_doubled_and_every_prompt_is_the_templates(
    trio: Mapping[str, Engine], student: str, teacher: str
) -> None:
    answers = all_of(
        answered(
            trio[student], trio[teacher], TOPICS[topic], chance=0.25, n=3, seed=seed, max_tokens=TOKENS,
            on_teacher_stop="continue",
        )
        for seed, topic in enumerate(topics_of(PAIRS.index((student, teacher))))
    )  # fmt: skip
    for answer in answers:
        check_seams(answer)
        # a server that sends text holds a half character back, so a short call may bring no text at all
        assert [f for f in answer.result.failures if trio[teacher].speaks_ids or "without a word" not in f] == []
        assert answer.result.usage.malformed_calls == 0
    assert any(answer.result.usage.teacher_tokens for answer in answers)
