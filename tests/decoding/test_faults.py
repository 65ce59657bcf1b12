"""The faults of the published implementation (docs/method.md lists them), as far as decoding is concerned.

Faults 4, 5, 6 and 10 are tested in tests/train, as are the training halves of faults 7 and 8.
"""

import asyncio
import re
from itertools import pairwise

import pytest

from relay_core import EngineError, Finish, Prompt, Relay, RelayResult, RelaySettings, ScriptedEngine
from relay_core.chat import Conversation, render
from relay_core.engines.scripted import Delay
from relay_core.tokenizer import Tokenizer


def pair(tokenizer: Tokenizer, student, teacher, **settings) -> tuple[Relay, ScriptedEngine, ScriptedEngine]:
    settings = {"on_teacher_stop": "continue", **settings}
    engines = [ScriptedEngine(script, tokenizer, record=True) for script in (student, teacher)]
    return Relay(*engines, RelaySettings(**settings)), *engines


def test_fault_02_ids_and_counts_do_not_drift(qwen3: Tokenizer) -> None:
    """Between turns nothing is decoded and encoded again: a spelling that no tokenizer would choose stays."""
    spelt = [i for c in "forty-two" for i in qwen3.encode(c)]
    assert spelt != qwen3.encode("forty-two")
    turns = [[*spelt, "<call>2</call>"], [*spelt, "<call>2</call>"], [*spelt]]
    relay, student, teacher = pair(qwen3, turns, [[*qwen3.encode("c"), *qwen3.encode("a")]] * 2)
    result = relay.generate("Q")
    command = qwen3.encode("<call>2</call>")
    exactly = [*spelt, *command, *qwen3.encode("c"), *qwen3.encode("a")] * 2 + [*spelt, qwen3.hf.eos_token_id]
    assert list(result.transcript.training_row().token_ids) == exactly
    assert result.usage.completion_tokens == len(exactly)
    for before, after in pairwise(prompt.token_ids for prompt, _ in student.requests):
        assert after[: len(before)] == before
    first, second = (prompt.token_ids for prompt, _ in teacher.requests)
    assert second == [*first, *qwen3.encode("c"), *qwen3.encode("a"), *spelt]


@pytest.mark.parametrize("around", ["a {}b", "a{} b", "a\n{}\n\nb", "a. {} .b", " {} ", "{}\n", "\t{}", "{}"])
def test_fault_03_the_teachers_context_is_the_text_without_the_command(qwen3: Tokenizer, around: str) -> None:
    """No space takes its place, and nothing is stripped around it."""
    relay, _, teacher = pair(qwen3, [around.format("<call>0</call>") + "x<call>1</call>"], "y")
    relay.generate("  Q\n")
    prompt = teacher.requests[0][0]
    asked = render(qwen3, Conversation.of("  Q\n")).text
    assert prompt.text == asked + around.format("") + "x"
    assert qwen3.decode(prompt.token_ids, control=True) == prompt.text
    assert prompt.continuation == around.format("") + "x"


@pytest.mark.parametrize("calls", [3, 5, 12])
def test_fault_07_calls_are_limited_by_settings_and_by_nothing_else(qwen3: Tokenizer, calls: int) -> None:
    relay, _, _ = pair(qwen3, ["a<call>1</call>"] * calls + ["end"], "x")
    result = relay.generate("Q")
    assert (result.usage.calls, result.text) == (calls, "ax" * calls + "end")
    limited = relay.generate("Q", max_calls=2)
    assert (limited.usage.calls, limited.usage.refused_calls) == (2, 1)


def test_fault_08_what_came_is_charged_not_what_was_asked_for(qwen3: Tokenizer) -> None:
    relay, _, _ = pair(qwen3, ["a<call>900</call>", "b"], "x y")
    result = relay.generate("Q")
    assert (result.calls[0].requested, result.calls[0].received) == (900, 2)
    assert result.usage.teacher_tokens == 2
    assert result.usage.call_ratio == 2 / result.usage.completion_tokens


@pytest.mark.parametrize("came", [[], ["x y"]])
def test_fault_09_a_failed_call_leaves_no_trace_of_its_error(qwen3: Tokenizer, came: list[str]) -> None:
    relay, student, _ = pair(qwen3, ["a<call>9</call>", " b"], [[*came, EngineError("[Error: 503]")]])
    result = relay.generate("Q")
    assert result.text == "a" + "".join(came) + " b"
    assert result.failures == ["[Error: 503]"]
    everything = [result.text, result.transcript.student_text, student.requests[1][0].text]
    everything += [qwen3.decode(student.requests[1][0].token_ids), *(s.text for s in result.segments)]
    assert not [text for text in everything if re.search("error|503", text, re.IGNORECASE)]


def test_fault_01_no_request_waits_for_the_round_of_another(qwen3: Tokenizer, timeless) -> None:
    """In lock-step, a hundred short answers would wait for the one whose teacher is slow."""
    ended: list[str] = []

    def teacher(prompt: Prompt):
        return [Delay(1000.0 if prompt.messages[-1]["content"] == "slow" else 1.0), "x", Finish.LENGTH]

    relay, _, _ = pair(qwen3, ["a<call>1</call>", "b<call>1</call>", "c"], teacher)

    async def one(name: str) -> RelayResult:
        result = await relay.agenerate(name)
        ended.append(name)
        return result

    async def all_of_them() -> None:
        await asyncio.gather(one("slow"), *(one(f"quick {i}") for i in range(20)))

    timeless(all_of_them())
    assert ended[-1] == "slow"
    assert len(ended) == 21
