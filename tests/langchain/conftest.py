"""What the LangChain tests share: a student that follows tool instructions, and the modalities that may be skipped."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from relay_core import Chunk, Engine, Prompt, Relay, Sampling, ScriptedEngine, engine_from_spec
from relay_core.engines.wrapped import Wrapped
from relay_core.tokenizer import Tokenizer

# The only tests of LangChain's suites that may be skipped: the models read and write text.
MODALITIES = {
    "test_image_inputs",
    "test_image_tool_message",
    "test_audio_inputs",
    "test_pdf_inputs",
    "test_pdf_tool_message",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "modality: of LangChain's suites, for models that read images, audio or PDF")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if getattr(item, "originalname", None) in MODALITIES:
            item.add_marker(pytest.mark.modality)


# -- a student that can follow a tool instruction ----------------------------------------------------------------
#
# It sees what a model sees: the text that Qwen3's template made, tools section and all, and writes what a model
# trained on that template writes. Nothing outside the tests knows of it.


def tools_in(prompt: str) -> list[dict[str, Any]]:
    """The function schemas in the template's tools section."""
    section = re.search(r"<tools>\n(.*?)\n</tools>", prompt, re.DOTALL)
    return [json.loads(line)["function"] for line in section[1].split("\n")] if section else []


def last_turn(prompt: str) -> tuple[str, str]:
    """The last finished turn: its role and its text."""
    turns = re.findall(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", prompt, re.DOTALL)
    role, text = turns[-1]
    return role, text.strip()


def fill(schema: dict[str, Any], question: str) -> dict[str, Any]:
    """Arguments for a function, from the words of the question, as its schema asks for them."""
    numbers = iter(re.findall(r"-?\d+", question))
    quoted = iter(re.findall(r"['\"‘“]([^'\"’”]+)['\"’”]", question))
    names = iter(re.findall(r"\b[A-Z][a-z]+(?: [A-Z][a-z]+)*(?:, [A-Z]{2})?", question.split(" ", 1)[-1]))
    arguments: dict[str, Any] = {}
    for name, about in schema.get("properties", {}).items():
        kinds = {about.get("type"), *(option.get("type") for option in about.get("anyOf", ()))}
        if "integer" in kinds:
            arguments[name] = int(next(numbers, "3"))
        elif "number" in kinds:
            arguments[name] = float(next(numbers, "3"))
        else:
            arguments[name] = next(quoted, None) or next(names, None) or f"a {name}"
    return arguments


def wants(function: dict[str, Any], question: str) -> int:
    """How many words a question and a function's name and description have in common."""
    words = set(re.findall(r"[a-z]{4,}", f"{function['name']} {function.get('description')}".lower().replace("_", " ")))
    return len(words & set(re.findall(r"[a-z]{4,}", question.lower().replace("_", " "))))


def written_call(name: str, arguments: dict[str, Any]) -> str:
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def follow(prompt: Prompt) -> str:
    """What an instructed model writes for this prompt, after its continuation."""
    functions = {f["name"]: f for f in tools_in(prompt.text)}
    role, question = last_turn(prompt.text)
    beginning = prompt.continuation
    if beginning == "{":
        keys = re.findall(r"'(\w+)'", question)
        return json.dumps({key: f"a {key} about cats" for key in keys})[1:]
    if beginning.startswith("<tool_call>"):
        forced_name = re.match(r'<tool_call>\n\{"name": "([^"]+)", "arguments":$', beginning)
        chosen = functions[forced_name[1]] if forced_name else max(functions.values(), key=lambda f: wants(f, question))
        whole = written_call(chosen["name"], fill(chosen["parameters"], question))
        assert whole.startswith(beginning)
        return whole[len(beginning) :]
    if "<tool_response>" in question and role == "user":
        return f"The tool says: {question.removeprefix('<tool_response>').removesuffix('</tool_response>').strip()}"
    best = max(functions.values(), key=lambda f: wants(f, question), default=None)
    if best is not None and wants(best, question):
        return written_call(best["name"], fill(best["parameters"], question))
    return "I can do that without a tool."


class Instructed(Wrapped):
    """An engine that follows instructions where the prompt asks for a tool call or JSON; else ``inner`` writes."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.scripted = ScriptedEngine(follow, inner.tokenizer)

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        instructed = "<tools>" in prompt.text or prompt.continuation.startswith("{")
        return (self.scripted if instructed else self.inner).stream(prompt, sampling)


@pytest.fixture(scope="session")
def instructed_pair() -> Relay:
    """The bundled pair, its student able to follow tool instructions."""
    student, teacher = engine_from_spec("bundled", role="student"), engine_from_spec("bundled", role="teacher")
    return Relay(Instructed(student), teacher)


@pytest.fixture
def scripted(qwen3: Tokenizer) -> Callable[..., ScriptedEngine]:
    """Makes engines that play back a script over Qwen3's tokenizer."""
    return lambda script, **options: ScriptedEngine(script, qwen3, **options)


@pytest.fixture
def follower(scripted: Callable[..., ScriptedEngine]) -> ScriptedEngine:
    """A student that can follow a tool instruction, and no more."""
    return scripted(follow, record=True)


@pytest.fixture
def tools_shown() -> Callable[[str], list[dict[str, Any]]]:
    """Reads the function schemas off a rendered prompt."""
    return tools_in
