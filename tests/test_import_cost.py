"""Nothing heavy loads before it is used; how long that takes is measured by benchmarks/startup.py."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "tokenizers", "vllm", "openai", "numpy", "trl", "datasets", "langchain_core")
SHOW = f"import json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
CLI = "import sys; from relay_core.cli import app; sys.argv = ['relay', *{args!r}]; app(standalone_mode=False); "


def loaded_by(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code + SHOW], capture_output=True, text=True, check=True, timeout=120)
    result: list[str] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_by("import numpy; ") == ["numpy"]


@pytest.mark.parametrize(
    "code",
    [
        "import relay_core; ",
        "from relay_core import Relay, RelaySettings, RelayResult, Segment, Usage, Prices; ",
        "from relay_core import CommandScanner, ScriptedEngine, TransformersEngine, engine_from_spec; ",
        CLI.format(args=["--help"]),
        CLI.format(args=["ask", "--help"]),
        CLI.format(args=["demo", "--help"]),
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded_by(code) == []


def test_importing_relay_core_loads_no_command_line() -> None:
    code = "import relay_core, sys; assert not {'typer', 'rich', 'anyio', 'jinja2'} & set(sys.modules); "
    assert loaded_by(code) == []
