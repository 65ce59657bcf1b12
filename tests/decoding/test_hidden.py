"""The trigger Hidden: its values, its strings, and an answer whose calls a head opens."""

from pathlib import Path

import pytest

from relay_core import Commands, ConfigurationError, Hidden, Relay, RelaySettings, ScriptedEngine, Trigger, Wrapped
from relay_core.adapters.settings_fields import SettingsFields
from relay_core.decoding.triggers import parse_trigger
from relay_core.engines.base import Chunk
from relay_core.engines.scripted import Doubt
from relay_core.tokenizer import Tokenizer

HEAD = "heads/a, b"


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("hidden:head,0.5", Hidden("head", 0.5)),
        ("hidden:head,0.5,8", Hidden("head", 0.5, 8)),
        ("hidden:heads/a, b,0.25,3", Hidden(HEAD, 0.25, 3)),
        ("hidden:heads/a, b,0.25", Hidden(HEAD, 0.25)),
        ("hidden:heads,1,0.25", Hidden("heads,1", 0.25)),
        ("hidden:C:\\heads,0,2", Hidden("C:\\heads", 0, 2)),
        ("hidden: head , 0.5 , 8 ", Hidden("head", 0.5, 8)),
    ],
)
def test_a_string_is_split_from_the_right(text: str, trigger: Trigger) -> None:
    assert parse_trigger(text) == trigger == parse_trigger(str(trigger))
    assert RelaySettings(trigger=text).trigger == trigger  # type: ignore[arg-type]


@pytest.mark.parametrize("above", [0.0, 1 - 1e-6, 0.1234567891, 1e-9])
def test_the_string_keeps_the_bound(above: float) -> None:
    assert parse_trigger(str(Hidden("head", above, 2))) == Hidden("head", above, 2)


@pytest.mark.parametrize(
    "bad",
    ["hidden", "hidden:", "hidden:head", "hidden:,0.5,1", "hidden:head,1,1", "hidden:head,-0.1,1", "hidden:head,nan,1",
     "hidden:head,0.5,0", "hidden:head,x,1", "hidden:head,0.5,x"],
)  # fmt: skip
def test_a_bad_string_says_what_to_write(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="write"):
        parse_trigger(bad)


@pytest.mark.parametrize(
    ("head", "above", "n"), [("", 0.5, 1), (7, 0.5, 1), ("h", 1.0, 1), ("h", True, 1), ("h", 0, 0)]
)
def test_a_bad_value_says_what_to_write(head, above, n) -> None:
    with pytest.raises(ConfigurationError, match=r"Hidden: .* write"):
        Hidden(head, above, n)


def test_it_is_a_value_which_the_plugins_keep_as_its_string() -> None:
    assert Hidden(Path("head"), 0.5) == Hidden("head", 0.5) != Hidden("head", 0.5, 2)  # type: ignore[arg-type]
    assert hash(Hidden("head", 0.5)) == hash(Hidden("head", 0.5, 1))
    fields = SettingsFields(trigger=Hidden("head", 0.5, 2))
    assert (
        fields.trigger == "hidden:head,0.5,2" and SettingsFields.model_validate_json(fields.model_dump_json()) == fields
    )
    assert Hidden("head", 0.5).needed_head == "head" and Commands().needed_head is None
    with pytest.raises(ConfigurationError, match=r"Hidden\(\.\.\.\).*hidden:FOLDER,0\.5,1"):
        RelaySettings(trigger=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("ends_by_itself", [True, False])
def test_a_call_opens_instead_of_a_token_that_the_head_calls_wrong(qwen3: Tokenizer, ends_by_itself: bool) -> None:
    student = ScriptedEngine(
        [["one", Doubt(" two", 0.4), " three"], " four"], qwen3, logprob=-0.1, record=True, honour_stop=ends_by_itself
    )
    teacher = ScriptedEngine(" TWO", qwen3)
    result = Relay(student, teacher).generate(
        "Q", trigger=Hidden(HEAD, 0.5, 2), on_teacher_stop="continue", max_calls=1
    )
    assert result.text == "one TWO four" and result.calls[0].requested == 2
    assert [sampling.head for _, sampling in student.requests] == [HEAD, None], "all calls made, no head is computed"
    assert not student.requests[0][1].top_logprob and student.requests[0][1].halt is not None
    surer = ScriptedEngine([["one", Doubt(" two", 0.4)]], qwen3, logprob=-0.1)
    assert Relay(surer, teacher).generate("Q", trigger=Hidden(HEAD, 0.7, 2)).usage.calls == 0


def test_an_engine_without_hidden_states_is_refused_at_the_start(qwen3: Tokenizer) -> None:
    class Elsewhere(ScriptedEngine):
        async def check_head(self, folder: str) -> None:
            raise self.gives_no_hidden_state()

        async def start(self) -> None:
            started.append(self)

    started: list[Elsewhere] = []

    class Forgets(Wrapped):
        async def stream(self, prompt, sampling):
            async for chunk in self.inner.stream(prompt, sampling):
                yield Chunk([token._replace(head_probability=None) for token in chunk.tokens], chunk.finish)

    student, teacher = Elsewhere("a b c", qwen3, record=True), ScriptedEngine("x", qwen3)
    for wrapped in (student, Wrapped(student), Forgets(ScriptedEngine("a b c", qwen3, logprob=-1.0))):
        with pytest.raises(
            ConfigurationError, match=r"scripted .* does not give: .*transformers:PATH.*uncertain:0\.4,8"
        ):
            Relay(wrapped, teacher).generate("Q", trigger=Hidden(HEAD, 0.5))
    assert student.requests == [] and started == []
    assert Relay(student, teacher).generate("Q", trigger=Hidden(HEAD, 0.5), calls=False).text == "a b c"
