"""Long prompts that are read once, several end tokens, BOS tokens, and a template without a system role."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from relay_core import Engine, FinishReason, Relay
from relay_core.chat import Conversation, render
from relay_core.tokenizer import Tokenizer
from testing.real_engines import IN_VLLM, LLAMA_CPP, MODELS, ON_TRANSFORMERS, VLLM_SERVER
from testing.seam import all_of, answered, check_seams

FACTS = "".join(
    f"Note {i}: the box number {i} holds {i * 7 % 90 + 10} nails and stands in room {i % 9}. " for i in range(90)
)
LONG = [
    {"role": "system", "content": f"{FACTS}The secret word is zebra."},
    {"role": "user", "content": "What is the secret word?"},
]

pytestmark = pytest.mark.timeout(600)


@pytest.mark.shows("2,000 tokens and more")
@pytest.mark.parametrize(("student", "teacher"), [("smollm2-135m", "gemma3-270m"), ("gemma3-270m", "smollm2-135m")])
def test_a_long_prompt_is_read_once(trio: Mapping[str, Engine], student: str, teacher: str) -> None:
    [answer] = all_of(
        [answered(trio[student], trio[teacher], LONG, chance=0.3, n=2, max_tokens=24, on_teacher_stop="continue")]
    )
    check_seams(answer)
    usage = answer.result.usage
    assert usage.prompt_tokens > 2000
    assert usage.calls >= 2
    assert answer.result.failures == []
    if usage.student_cached_tokens is not None:
        assert usage.student_cached_tokens > 0.9 * (usage.student_prompt_tokens - usage.prompt_tokens - 600)


@pytest.mark.shows("end tokens")
@pytest.mark.kinds(ON_TRANSFORMERS, IN_VLLM, VLLM_SERVER, LLAMA_CPP)
@pytest.mark.parametrize("student", ["smollm2-135m", "qwen2.5-coder-1.5b"])
def test_an_answer_ends_with_its_models_end_token(trio: Mapping[str, Engine], student: str) -> None:
    result = Relay(trio[student], None).generate("What is the capital of France? Answer in one word.", max_tokens=40)
    assert result.finish_reason is FinishReason.STOP
    assert "<" not in result.text, "no end token is shown"
    assert "Paris" in result.text


@pytest.mark.parametrize("name", MODELS)
def test_a_template_renders_its_bos_token_once(name: str, models: object) -> None:
    tokenizer = Tokenizer.load(f"{models}/{name}")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    rendered = render(tokenizer, Conversation.of(messages))
    assert "Be brief." in rendered.text, "also by a template that has no system role (Gemma's)"
    if name.startswith("gemma"):
        assert rendered.token_ids.count(tokenizer.hf.bos_token_id) == 1
        assert rendered.token_ids[0] == tokenizer.hf.bos_token_id
        assert "system" not in rendered.text
    else:
        assert "<bos>" not in rendered.text
