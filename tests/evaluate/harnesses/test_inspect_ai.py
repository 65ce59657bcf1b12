"""A relay in Inspect: its own command line on local data, and what it stores of an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelUsage,
    get_model,
)
from inspect_ai.tool import ToolCall, ToolFunction, ToolInfo, ToolParam, ToolParams

from relay_core import Finish, Relay, ScriptedEngine, Usage
from relay_core.errors import ConfigurationError
from relay_core.evaluate.inspect_ai import RelayAPI

from .conftest import KEY, PRICES, Plain, run, written

PRICE = ToolInfo(
    name="price",
    description="The price of an item",
    parameters=ToolParams(properties={"item": ToolParam(type="string")}, required=["item"]),
)
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "tea"}}\n</tool_call>'


def api(student: Any, teacher: Any = None, **settings: Any) -> RelayAPI:
    made = RelayAPI("bundled", **settings)
    made.model.relay = Relay(student, teacher, made.model.relay.settings)
    return made


async def answer(made: RelayAPI, *tools: ToolInfo, choice: Any = "auto", text: str = "Hi", **config: Any) -> Any:
    return await made.generate([ChatMessageUser(content=text)], list(tools), choice, GenerateConfig(**config))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_generative_task_runs_to_the_end(folder: Path, plain: Plain) -> None:
    prices = {name: getattr(PRICES, name) for name in PRICES.__slots__ if getattr(PRICES, name) is not None}
    done = run(
        "inspect", "eval", "inspect_task.py", "--model", "relay/bundled", "-M", "teacher=bundled", "-M", "max_calls=5",
        "-M", f"prices={json.dumps(prices)}", "--max-tokens", "200", "--log-dir", "logs", "--log-format", "json",
        "--display", "plain", folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (folder / "logs").glob("*.json")
    log = json.loads(file.read_text())
    assert log["status"] == "success"
    assert log["results"]["scores"][0]["metrics"]["accuracy"]["value"] == pytest.approx(plain.accuracy)
    outputs = [sample["output"] for sample in log["samples"]]
    usage = Usage.total(
        Usage(**{name: n for name, n in output["metadata"]["relay"]["usage"].items() if name != "call_ratio"})
        for output in outputs
    )
    assert written(usage) == written(plain.usage)
    counted = log["stats"]["model_usage"]["relay/bundled"]
    assert counted["output_tokens"] == plain.usage.completion_tokens
    read = counted["input_tokens"] + (counted["input_tokens_cache_read"] or 0)
    assert read == usage.student_prompt_tokens + usage.teacher_prompt_tokens
    assert counted["total_cost"] == pytest.approx(usage.cost(PRICES)), "student and teacher, each at its own prices"
    assert {output["choices"][0]["stop_reason"] for output in outputs} == {"stop"}
    assert KEY not in done.stdout + done.stderr + file.read_text()


def test_it_is_found_by_its_entry_point() -> None:
    model = get_model("relay/bundled", max_calls=3, memoize=False)
    assert type(model.api) is RelayAPI and model.api.model.relay.settings.max_calls == 3


async def test_student_and_teacher_are_priced_apart() -> None:
    made = api(ScriptedEngine([["47 * 6 = <call>3</call>"], ["."]]), ScriptedEngine("282"), prices=json.dumps(
        {"student_input": 1, "student_output": 2, "teacher_input": 10, "teacher_output": 20, "teacher_cached_input": 3}
    ))  # fmt: skip
    output = await answer(made)
    result = made.model.usage
    student, teacher = made.served_model_usage(output) or ()
    assert (student.model, teacher.model) == ("scripted", "scripted")
    assert student.usage.output_tokens == result.student_tokens + result.command_tokens > 0
    assert teacher.usage.output_tokens == result.teacher_tokens > 0
    assert student.usage + teacher.usage == output.usage
    assert (teacher.cost.input, teacher.cost.output, teacher.cost.input_cache_read) == (10, 20, 3)
    assert (student.cost.input, student.cost.output, student.cost.input_cache_read) == (1, 2, 1)


async def test_without_prices_and_without_a_teacher_nothing_is_made_up() -> None:
    made = api(ScriptedEngine("4"))
    output = await answer(made)
    (student,) = made.served_model_usage(output) or ()
    assert student.cost is None and student.usage == output.usage
    assert output.metadata["relay"]["cost"] is None
    assert made.served_model_usage(output.model_copy(update={"metadata": None})) is None
    assert isinstance(output.usage, ModelUsage)


@pytest.mark.parametrize(
    ("script", "config", "reason"),
    [
        ("4", {}, "stop"),
        ("a b c d e f g h", {"max_tokens": 3}, "max_tokens"),
        (["4 ", Finish.LENGTH], {}, "model_length"),
        ("a END b", {"stop_seqs": ["END"]}, "stop"),
    ],
)
async def test_stop_reasons(script: Any, config: dict[str, Any], reason: str) -> None:
    output = await answer(api(ScriptedEngine([script] if isinstance(script, list) else script)), **config)
    assert output.stop_reason == reason


async def test_a_deadline_is_no_stop() -> None:
    from relay_core.engines.scripted import Delay

    output = await answer(api(ScriptedEngine([["4", Delay(20), "5"]]), deadline_s=0.2))
    assert output.stop_reason == "unknown"
    assert output.metadata["relay"]["finish_reasons"] == ["deadline"]


async def test_options_become_settings() -> None:
    student = ScriptedEngine("4", record=True)
    await answer(api(student), max_tokens=9, temperature=0.5, top_p=0.9, top_k=4, seed=3, num_choices=2)
    sampled = [sampling for _, sampling in student.requests]
    assert {(s.temperature, s.top_p, s.top_k, s.max_tokens) for s in sampled} == {(0.5, 0.9, 4, 9)}
    assert [s.seed for s in sampled] == [3, 4]


@pytest.mark.parametrize("option", [{"logprobs": True}, {"frequency_penalty": 0.5}, {"best_of": 2}])
async def test_an_option_that_a_relay_lacks_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"no option '{next(iter(option))}'"):
        await answer(api(ScriptedEngine("4")), **option)


async def test_a_tool_call_of_the_answer() -> None:
    output = await answer(api(ScriptedEngine(f"I look. {CALL}")), PRICE)
    assert output.stop_reason == "tool_calls"
    (call,) = output.message.tool_calls or ()
    assert (call.function, call.arguments, call.parse_error) == ("price", {"item": "tea"}, None)
    assert output.message.text.strip() == "I look."


async def test_a_forced_tool_call_and_one_that_cannot_be_read() -> None:
    forced = await answer(
        api(ScriptedEngine(' {"item": "tea"}}\n</tool_call>')), PRICE, choice=ToolFunction(name="price")
    )
    assert [call.arguments for call in forced.message.tool_calls or ()] == [{"item": "tea"}]
    broken = await answer(api(ScriptedEngine('<tool_call>\n{"name": "price", "arguments": {"it')), PRICE)
    (call,) = broken.message.tool_calls or ()
    assert call.function == "price" and call.parse_error


async def test_earlier_tool_calls_are_in_the_prompt() -> None:
    student = ScriptedEngine("3 coins", tokenizer=None, record=True)
    conversation = [
        ChatMessageSystem(content="Be short."),
        ChatMessageUser(content=[ContentText(text="Tea?")]),
        ChatMessageAssistant(content="", tool_calls=[ToolCall(id="1", function="price", arguments={"item": "tea"})]),
        ChatMessageTool(content="3", tool_call_id="1", function="price"),
    ]
    await api(student).generate(conversation, [PRICE], "auto", GenerateConfig())
    sent = student.requests[0][0].messages
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool"]
    assert sent[2]["tool_calls"][0]["function"]["name"] == "price" and sent[3]["content"] == "3"


async def test_a_picture_is_refused() -> None:
    picture = ChatMessageUser(content=[ContentImage(image="data:image/png;base64,AAAA")])
    with pytest.raises(ConfigurationError, match=r"message 0 \(user\) has content of the type 'image'"):
        await api(ScriptedEngine("4")).generate([picture], [], "auto", GenerateConfig())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": KEY}, "api_key: a harness writes"),
        ({"teacher_api_key": KEY}, "teacher_api_key: a harness writes"),
        ({"base_url": f"http://u:{KEY}@h/v1"}, "a relay has no base URL"),
        ({"student": "bundled"}, "student: write relay/STUDENT"),
        ({"max_cals": 3}, "did you mean max_calls?"),
        ({"teacher": f"openai:m@http://u:{KEY}@h/v1"}, ""),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_and_no_key_is_shown(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        get_model("relay/bundled", memoize=False, **arguments)
    assert message in str(refused.value) and KEY not in str(refused.value)
