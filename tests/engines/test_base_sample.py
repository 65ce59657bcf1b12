"""The values of a base that are kept beside an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_core import bundled
from relay_core.engines import base_sample
from relay_core.engines.model_folder import load_model
from relay_core.errors import ConfigurationError


def sample_of(name: str, dtype: str = "float32") -> base_sample.Sample:
    return base_sample.sample_of(load_model(str(bundled.WEIGHTS / name), dtype=dtype, device="cpu"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_base_is_recognised_in_every_dtype(tmp_path: Path, dtype: str) -> None:
    base_sample.write(sample_of("student-base"), tmp_path)
    sample = base_sample.read(tmp_path)
    assert sample is not None and len(sample) > 3
    assert base_sample.is_of(sample, load_model(str(bundled.WEIGHTS / "student-base"), dtype=dtype, device="cpu"))


def test_another_model_of_the_same_shape_is_recognised_as_another() -> None:
    warm = load_model(str(bundled.WEIGHTS / "student-warm"), dtype="float32", device="cpu")
    assert not base_sample.is_of(sample_of("student-base"), warm)
    assert not base_sample.is_of({}, warm)
    assert not base_sample.is_of({"no.such.matrix": [1.0]}, warm)


def test_a_sample_that_is_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    assert base_sample.read(tmp_path) is None
    for text in ("{", "[]", '{"a": 1}', '{"a": ["x"]}'):
        (tmp_path / base_sample.FILE).write_text(text)
        with pytest.raises(ConfigurationError, match=r"base_sample\.json cannot be read: .*delete it"):
            base_sample.read(tmp_path)
