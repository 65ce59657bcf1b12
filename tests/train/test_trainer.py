import pytest

from relay_core.errors import ConfigurationError
from relay_core.train.trainer import arguments, common_values, last_checkpoint


def checkpoint(folder, step, state='{"global_step": 1}'):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "trainer_state.json").write_text(state)
    return str(path)


def test_the_last_complete_checkpoint(tmp_path):
    assert last_checkpoint(tmp_path) is None
    checkpoint(tmp_path, 9)
    whole = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 11, state='{"global_st')  # the kill came here
    (tmp_path / "checkpoint-12").mkdir()
    checkpoint(tmp_path, "best")
    assert last_checkpoint(tmp_path) == whole


def test_trl_takes_its_values_from_the_recipe(tmp_path):
    from trl import GRPOConfig

    values = {**common_values(tmp_path, seed=3), "per_device_train_batch_size": 8}
    assert arguments(GRPOConfig, "grpo", values).seed == 3
    with pytest.raises(ConfigurationError, match=r"grpo\.trainer\.learning_rat.*did you mean learning_rate"):
        arguments(GRPOConfig, "grpo", {"learning_rat": 1})
    with pytest.raises(ConfigurationError, match=r"grpo\.trainer: "):
        arguments(GRPOConfig, "grpo", {**values, "num_generations": 3})
