"""Runs tests/evaluate/harnesses in .venv-harnesses, which holds the harnesses (``make harnesses``)."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from relay_core.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-harnesses" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_adapters_in_the_environment_of_the_harnesses() -> None:
    if not PYTHON.exists():
        pytest.skip("there is no .venv-harnesses: run `make harnesses`")
    # the harnesses' own warnings fail nothing here
    command = [
        str(PYTHON),
        "-m",
        "pytest",
        "tests/evaluate/harnesses",
        "-o",
        "filterwarnings=",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=880)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert " passed" in done.stdout and " skipped" not in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("harness", ["lm_eval", "inspect_ai", "lighteval"])
def test_without_its_harness_an_adapter_says_what_to_install(harness: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, harness, None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, f"relay_core.evaluate.{harness}", raising=False)
    with pytest.raises(MissingExtraError, match=f"pip install .*'{harness.replace('_', '-')}[<>]"):
        importlib.import_module(f"relay_core.evaluate.{harness}")
