import pytest

from relay_core import ConfigurationError
from relay_core.train.policies import colocate, server
from relay_core.train.policies.choice import RESERVED, policy_for
from relay_core.train.policies.colocate import ColocatePolicy
from relay_core.train.policies.live import LivePolicy
from relay_core.train.policies.server import ServerPolicy
from relay_core.train.recipe import build


@pytest.fixture(autouse=True)
def vllm_is_installed(monkeypatch):
    for module in (colocate, server):
        monkeypatch.setattr(module, "find_spec", lambda name: name)


def test_the_recipe_names_the_policy(tokenizer):
    url = "http://10.0.0.2:8000/v1/"
    made = [
        policy_for(build({"grpo": {"policy": name, "policy_url": url}}), tokenizer)
        for name in ("live", "colocate", "server")
    ]
    assert [type(policy) for policy in made] == [LivePolicy, ColocatePolicy, ServerPolicy]
    assert [policy.trainer_values["use_vllm"] for policy in made] == [False, True, True]
    assert made[2].trainer_values["vllm_server_base_url"] == "http://10.0.0.2:8000"


def test_trl_knows_the_values_of_every_policy(tokenizer, tmp_path):
    from trl import GRPOConfig

    from relay_core.train.trainer import arguments, common_values

    for name in ("live", "colocate", "server"):
        policy = policy_for(build({"grpo": {"policy": name, "policy_url": "http://a:1"}}), tokenizer)
        values = {**common_values(tmp_path, seed=0), "per_device_train_batch_size": 8, **policy.trainer_values}
        for key, value in policy.trainer_values.items():
            assert getattr(arguments(GRPOConfig, "grpo", values), key) == value


@pytest.mark.parametrize("name", RESERVED)
def test_what_the_policy_decides_is_no_value_of_the_trainer(tokenizer, name):
    with pytest.raises(ConfigurationError, match=rf"grpo\.trainer\.{name} is decided by grpo\.policy \(colocate\)"):
        policy_for(build({"grpo": {"policy": "colocate", "trainer": {name: True}}}), tokenizer)
