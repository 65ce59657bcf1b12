"""Nothing heavy loads before it is used; how long that takes is measured by benchmarks/startup.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

HEAVY = ("torch", "transformers", "tokenizers", "vllm", "openai", "numpy", "trl", "datasets", "langchain_core")
CLI = "import sys; from relay_core.cli import app; sys.argv = ['relay', *{args!r}]; app(standalone_mode=False); "


@pytest.fixture
def loaded_by(packages_after: Callable[[str], set[str]]) -> Callable[[str], list[str]]:
    return lambda code: [name for name in HEAVY if name in packages_after(code)]


def test_the_probe_sees_what_is_loaded(loaded_by: Callable[[str], list[str]]) -> None:
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
        CLI.format(args=["tune", "--help"]),
        CLI.format(args=["audit", "--help"]),
    ],
)
def test_nothing_heavy_is_loaded(loaded_by: Callable[[str], list[str]], code: str) -> None:
    assert loaded_by(code) == []


def test_importing_relay_core_loads_no_command_line(loaded_by: Callable[[str], list[str]]) -> None:
    code = "import relay_core, sys; assert not {'typer', 'rich', 'anyio', 'jinja2'} & set(sys.modules); "
    assert loaded_by(code) == []
