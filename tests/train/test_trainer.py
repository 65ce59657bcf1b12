import math

import pytest

from relay_core.errors import ConfigurationError, TrainingError
from relay_core.train.trainer import arguments, common_values, stops_at_nan


def test_trl_takes_its_values_from_the_recipe(tmp_path):
    from trl import GRPOConfig

    values = {**common_values(tmp_path, seed=3), "per_device_train_batch_size": 8}
    assert arguments(GRPOConfig, "grpo", values).seed == 3
    with pytest.raises(ConfigurationError, match=r"grpo\.trainer\.learning_rat.*did you mean learning_rate"):
        arguments(GRPOConfig, "grpo", {"learning_rat": 1})
    with pytest.raises(ConfigurationError, match=r"grpo\.trainer: "):
        arguments(GRPOConfig, "grpo", {**values, "num_generations": 3})


def test_values_are_read_as_trl_reads_them(tmp_path):
    from trl import GRPOConfig

    values = {**common_values(tmp_path, seed=0), "num_generations": 2, "per_device_train_batch_size": 8}
    config = arguments(
        GRPOConfig,
        "grpo",
        {**values, "learning_rate": "1e-6", "model_init_kwargs": {"dtype": "bfloat16"}, "delta": None},
    )
    assert config.learning_rate == 1e-6 and config.model_init_kwargs == {"dtype": "bfloat16"} and config.delta is None
    with pytest.raises(ConfigurationError, match=r"grpo\.trainer: .*learning_rate"):
        arguments(GRPOConfig, "grpo", {**values, "learning_rate": "fast"})


def test_a_gradient_that_is_not_finite_ends_the_run_before_the_update(tmp_path):
    import torch

    model = torch.nn.Linear(2, 1)
    model.weight.grad = torch.ones(1, 2)

    class State:
        global_step = 7

    callback = stops_at_nan(tmp_path)
    callback.on_pre_optimizer_step(None, State, None, model=model)
    model.weight.grad[0, 1] = math.inf
    with pytest.raises(TrainingError, match=r"gradient is not finite at step 7.*last checkpoint"):
        callback.on_pre_optimizer_step(None, State, None, model=model)
