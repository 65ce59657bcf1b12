"""The prompts of both sides; their properties over random answers are in test_properties.py."""

import pytest

from relay_core import Relay, RelaySettings, ScriptedEngine
from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.openai.protocol import Dialect, Mode, request_body
from relay_core.tokenizer import Tokenizer

NO_THOUGHTS = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize("thinking", [False, True])
async def test_thinking_is_a_setting_of_both_sides(qwen3: Tokenizer, thinking: bool) -> None:
    student, teacher = (ScriptedEngine(s, qwen3, record=True) for s in (["a<call>1</call>", "b"], "x"))
    await Relay(student, teacher, RelaySettings(enable_thinking=thinking)).agenerate("Q", on_teacher_stop="continue")
    prompts = [prompt for prompt, _ in student.requests + teacher.requests]
    assert len(prompts) == 3
    for prompt in prompts:
        assert (NO_THOUGHTS in prompt.text) is not thinking
        assert prompt.enable_thinking is thinking


async def test_thinking_is_off_unless_asked_for(qwen3: Tokenizer) -> None:
    student = ScriptedEngine("a", qwen3, record=True)
    relay = Relay(student, None)
    for options, thinking in (({}, False), ({"enable_thinking": True}, True)):
        await relay.agenerate("Q", **options)
        assert (NO_THOUGHTS in student.requests[-1][0].text) is not thinking


@pytest.mark.parametrize("thinking", [False, True])
def test_chat_endpoints_are_told(thinking: bool) -> None:
    prompt = Prompt("", None, ({"role": "user", "content": "Q"},), enable_thinking=thinking)
    dialect = Dialect(Mode.CHAT, template_kwargs=True)
    body = request_body("m", dialect, prompt, Sampling(3), ids=(), text="", left=3)
    assert body["chat_template_kwargs"] == {"enable_thinking": thinking}
