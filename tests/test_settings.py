import dataclasses

import pytest

from relay_core import BudgetError, ConfigurationError, Prices, RelaySettings

BAD = [
    ("temperature", -0.1, ConfigurationError),
    ("temperature", "hot", ConfigurationError),
    ("temperature", float("nan"), ConfigurationError),
    ("temperature", True, ConfigurationError),
    ("teacher_temperature", -1, ConfigurationError),
    ("teacher_top_p", 0, ConfigurationError),
    ("teacher_top_k", -1, ConfigurationError),
    ("top_p", 0, ConfigurationError),
    ("top_p", 1.1, ConfigurationError),
    ("top_k", 0, ConfigurationError),
    ("top_k", 1.5, ConfigurationError),
    ("seed", -1, ConfigurationError),
    ("seed", "x", ConfigurationError),
    ("stop", ("",), ConfigurationError),
    ("stop", [1], ConfigurationError),
    ("stop", 7, ConfigurationError),
    ("calls", 1, ConfigurationError),
    ("enable_thinking", 1, ConfigurationError),
    ("trigger", "uncertain", ConfigurationError),
    ("trigger", None, ConfigurationError),
    ("student_instructions", 3, ConfigurationError),
    ("temperature", 10**400, ConfigurationError),
    ("on_teacher_error", "ignore", ConfigurationError),
    ("on_teacher_stop", None, ConfigurationError),
    ("warming", "yes", ConfigurationError),
    ("warming", True, ConfigurationError),
    ("prices", 3, ConfigurationError),
    ("prices", {"teacher": 1.0}, ConfigurationError),
    ("max_tokens", 0, BudgetError),
    ("max_tokens", -5, BudgetError),
    ("max_tokens", None, BudgetError),
    ("max_tokens", 10.0, BudgetError),
    ("max_calls", -1, BudgetError),
    ("max_call_tokens", 0, BudgetError),
    ("max_teacher_tokens", -1, BudgetError),
    ("deadline_s", 0, BudgetError),
    ("deadline_s", float("inf"), BudgetError),
    ("teacher_timeout_s", -1, BudgetError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD, ids=[f"{n}={v!r}" for n, v, _ in BAD])
def test_a_bad_value_is_refused_when_the_settings_are_built(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        RelaySettings(**{name: value})
    with pytest.raises(error, match=name):
        RelaySettings().merged({name: value})


def test_every_setting_is_checked() -> None:
    assert {f.name for f in dataclasses.fields(RelaySettings)} == {name for name, _, _ in BAD}


def test_budgets_that_contradict_each_other() -> None:
    with pytest.raises(BudgetError, match=r"max_call_tokens=10 .* max_teacher_tokens=5"):
        RelaySettings(max_call_tokens=10, max_teacher_tokens=5)
    assert RelaySettings(max_call_tokens=10, max_teacher_tokens=0).max_teacher_tokens == 0
    assert RelaySettings(max_calls=0).max_calls == 0


def test_stop_strings_and_prices_may_be_plain_values() -> None:
    assert RelaySettings(stop="END").stop == ("END",)
    assert RelaySettings(stop=["a", "b"]).stop == ("a", "b")
    assert RelaySettings(stop=None).stop == ()
    assert RelaySettings(prices={"teacher_output": 2.0}).prices == Prices(teacher_output=2.0)


def test_settings_are_frozen_and_merged_into_new_ones() -> None:
    settings = RelaySettings(seed=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 2
    merged = settings.merged({"max_tokens": 5, "calls": False})
    assert (merged.seed, merged.max_tokens, merged.calls) == (1, 5, False)
    assert (settings.max_tokens, settings.merged({})) == (1024, settings)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean max_tokens"):
        RelaySettings().merged({"max_token": 5})
    with pytest.raises(ConfigurationError, match=r"known: .*temperature"):
        RelaySettings().merged({"zzz": 5})


@pytest.mark.parametrize("value", [-1, "1", None, True, float("inf")])
def test_a_price_is_a_number(value: object) -> None:
    with pytest.raises(ConfigurationError, match="student_output"):
        Prices(student_output=value)


def test_the_page_of_settings_names_every_field() -> None:
    from dataclasses import fields
    from pathlib import Path

    from relay_core import Prices, RelaySettings, Usage
    from relay_core.events import CallEnded

    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    for kind in (RelaySettings, Prices, Usage, CallEnded):
        assert [f.name for f in fields(kind) if f"`{f.name}`" not in page] == []
