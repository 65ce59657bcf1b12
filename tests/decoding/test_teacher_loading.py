"""The time limit of a call does not count the loading of a teacher in this process; the answer's deadline does."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from relay_core import ConfigurationError, EngineError, Relay, RelayError, ScriptedEngine, TransformersEngine, Wrapped
from relay_core.engines.spec import EngineSpec, Scheme
from relay_core.events import FinishReason

STUDENT = [["47 * 6 = <call>3</call>"], [". Done."]]


class SlowToLoad(Wrapped):
    """Its model loads in half a second."""

    loaded = False

    async def load(self) -> None:
        if not self.loaded:
            await asyncio.sleep(0.5)
        self.loaded = True

    async def start(self) -> None:
        await self.load()
        await self.inner.start()


def relay() -> Relay:
    return Relay(ScriptedEngine(STUDENT, tokenizer="bundled"), SlowToLoad(ScriptedEngine("282", tokenizer="bundled")))


def test_a_call_that_loads_its_teacher_is_in_time() -> None:
    result = relay().generate("47 * 6?", teacher_timeout_s=0.3, on_teacher_stop="continue")
    assert not result.failures and result.text == "47 * 6 = 282. Done."


def test_the_deadline_of_the_answer_counts_the_loading() -> None:
    result = relay().generate("47 * 6?", deadline_s=0.2, on_teacher_stop="continue")
    assert result.finish_reason is FinishReason.DEADLINE and result.text == "47 * 6 = "


@pytest.mark.parametrize("error", [ConfigurationError("it has no chat template"), EngineError("not enough memory")])
def test_a_teacher_that_cannot_be_loaded_ends_the_answer(error: RelayError) -> None:
    class Unusable(Wrapped):
        async def load(self) -> None:
            raise error

    teacher = Unusable(ScriptedEngine("282", tokenizer="bundled"))
    with pytest.raises(type(error), match=error.message) as raised:
        Relay(ScriptedEngine(STUDENT, tokenizer="bundled"), teacher).generate("47 * 6?")
    assert raised.value.transcript is not None and raised.value.transcript.reader_text == "47 * 6 = "


def test_a_teacher_without_a_chat_template_is_refused_before_its_weights_are_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(EngineSpec(Scheme.BUNDLED, "teacher").source, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    relay = Relay(ScriptedEngine(STUDENT, tokenizer="bundled"), TransformersEngine(folder))
    with pytest.raises(ConfigurationError, match="has no chat template"):
        relay.generate("47 * 6?")
    assert relay.teacher is not None and not relay.teacher.running
