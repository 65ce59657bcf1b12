import errno
import shutil

import pytest

from relay_core.errors import TrainingError
from relay_core.train.checkpoints import damage, disk_errors, last_checkpoint


def checkpoint(folder, step, state='{"global_step": 1}'):
    import torch
    from safetensors.torch import save_file

    path = folder / f"checkpoint-{step}"
    path.mkdir()
    save_file({"w": torch.zeros(64)}, path / "model.safetensors")
    torch.save({"step": step}, path / "optimizer.pt")
    torch.save({"cpu": torch.get_rng_state()}, path / "rng_state.pth")
    (path / "trainer_state.json").write_text(state)
    return path


def test_the_last_whole_checkpoint(tmp_path, capsys):
    assert last_checkpoint(tmp_path) is None
    checkpoint(tmp_path, 9)
    whole = checkpoint(tmp_path, 10)
    (tmp_path / "checkpoint-12").mkdir()  # the kill came before trainer_state.json
    checkpoint(tmp_path, "best")
    assert last_checkpoint(tmp_path) == str(whole)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, capsys, name):
    whole, newest = checkpoint(tmp_path, 10), checkpoint(tmp_path, 20)
    content = (newest / name).read_bytes()
    (newest / name).write_bytes(content[: len(content) // 2])
    assert last_checkpoint(tmp_path) == str(whole)
    assert f"checkpoint-20 is damaged ({name} cannot be read)" in capsys.readouterr().err


def test_a_checkpoint_of_another_number_of_processes_is_named(tmp_path):
    folder = checkpoint(tmp_path, 10)
    assert damage(folder, 1) is None
    assert damage(folder, 2) == "it was written by 1 processes, and this run has 2"


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    with (
        pytest.raises(TrainingError, match=r"disk of .* is full .*start the same command again"),
        disk_errors(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RuntimeError, match="other"), disk_errors(tmp_path):
        raise RuntimeError("other")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(TrainingError, match="is full"), disk_errors(tmp_path):  # as torch.save says it
        raise RuntimeError("PytorchStreamWriter failed writing file")
