"""Where metrics may be reported is checked before training; what a reward function logs arrives there."""

import os
import sys
import types

import pytest

from relay_core import ConfigurationError
from relay_core.train.reporting import check_report_to


@pytest.mark.parametrize("value", [None, "none", "tensorboard", ["tensorboard"], "all", []])
def test_what_is_installed_is_accepted(value):
    check_report_to({} if value is None else {"report_to": value})


def test_a_package_that_is_missing_is_an_error_with_what_to_write(monkeypatch):
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: False)
    with pytest.raises(
        ConfigurationError, match=r"grpo.trainer.report_to: wandb .*pip install wandb, or write tensorb"
    ):
        check_report_to({"report_to": ["tensorboard", "wandb"]})


def test_a_place_that_nobody_knows_is_refused():
    with pytest.raises(ConfigurationError, match=r"warmup.trainer.report_to: tensorbord is not known.*tensorboard"):
        check_report_to({"report_to": "tensorbord"}, "warmup")


@pytest.mark.parametrize(
    ("key", "environment", "accepted"),
    [(None, {}, False), ("k", {}, True), (None, {"WANDB_API_KEY": "k"}, True), (None, {"WANDB_MODE": "offline"}, True)],
)
@pytest.mark.parametrize("older", [False, True])
def test_wandb_needs_a_key_unless_it_is_offline(monkeypatch, older, key, environment, accepted):
    def login(*, prompt, verify):
        assert not prompt and not verify  # a question would wait for ever, and a server may not be there
        return bool(key or os.environ.get("WANDB_API_KEY"))

    def older_login(*, key=None):
        raise AssertionError("it would ask")

    api = types.SimpleNamespace(api_key=key)
    wandb = types.SimpleNamespace(run=None, login=older_login if older else login, api=api)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: True)
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if accepted:
        check_report_to({"report_to": "wandb"})
    else:
        with pytest.raises(ConfigurationError, match="wandb has no API key: run `wandb login`"):
            check_report_to({"report_to": "wandb"})
