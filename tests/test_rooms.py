"""Modules stay small and imports point one way: ``tools/rooms.py`` finds no violation, and finds those made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import rooms

ROOT = Path(__file__).parents[1]


def violations_of(root: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    modules = rooms.read_modules(root)
    return [*rooms.size_violations(modules), *rooms.import_violations(modules)]


def test_this_repository_has_no_violation(capsys: pytest.CaptureFixture[str]) -> None:
    code = rooms.main(ROOT)
    output = capsys.readouterr().out
    assert code == 0, output
    assert "0 violations" in output


def test_every_rule_and_exception_names_a_module_that_exists() -> None:
    names = {module.name for module in rooms.read_modules(ROOT)}
    exempt = {"relay_core.serve", "tests"}  # the server is not built yet; tests are not checked
    for rule in rooms.RULES:
        for entry in {*rule.importers, *rule.forbidden, *rule.excluded, *rule.allowed} - exempt:
            assert any(name == entry or name.startswith(f"{entry}.") for name in names), entry
    for importer, imported in rooms.EXCEPTIONS:
        assert importer in names and imported in names, (importer, imported)


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("relay_core/settings.py", "import langchain_relay"),
        ("relay_core/settings.py", "from relay_core.evaluate.measure import measure"),
        ("relay_core/adapters/structured.py", "def f():\n    from relay_core.serve import app"),
        ("relay_core/relay.py", "from .train import grpo"),
        ("relay_core/engines/base.py", "from relay_core import bundled"),
        ("relay_core/engines/base.py", "import_module('relay_core.bundled.task')"),
        ("relay_core/decoding/loop.py", "from relay_core.engines.vllm import VLLMEngine"),
        ("relay_core/decoding/loop.py", "from ..engines import vllm"),
        ("relay_core/command.py", "from relay_core.transcript import Author"),
        ("relay_core/transcript.py", "import relay_core.tokenizer"),
        ("relay_core/cli/demo.py", "from relay_core.bundled.task import BundledTask"),
        ("relay_core/train/stages.py", "TASK = 'relay_core.bundled.task:BundledTask'"),
        ("relay_core/evaluate/measure.py", "if TYPE_CHECKING:\n    from relay_core.bundled import task"),
        ("langchain_relay/chat_models.py", "from llamaindex_relay import messages"),
        ("llamaindex_relay/llms.py", "import relay_core.evaluate.measure"),
        ("relay_core/portal.py", "from testing.streams import collect"),
        ("tools/pins.py", "import testing.streams"),
    ],
)
def test_an_import_against_an_arrow_is_found(tmp_path: Path, importer: str, statement: str) -> None:
    targets = (
        "relay_core/bundled/__init__.py", "relay_core/bundled/task.py", "relay_core/train/grpo.py",
        "relay_core/engines/vllm.py", "relay_core/serve/app.py", "relay_core/transcript.py",
        "llamaindex_relay/messages.py", "testing/streams.py",
    )  # fmt: skip
    [violation] = violations_of(tmp_path, {**dict.fromkeys(targets, ""), importer: statement + "\n"})
    assert violation.startswith(f"{importer}:")


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("relay_core/engines/spec.py", "def f():\n    from relay_core import bundled"),
        ("relay_core/evaluate/task.py", "SHIPPED_TASKS = {'bundled': 'relay_core.bundled.task:BundledTask'}"),
        ("relay_core/decoding/loop.py", "from relay_core.engines.base import Engine"),
        ("relay_core/transcript.py", "from relay_core.errors import RelayError"),
        ("relay_core/train/stages.py", "from relay_core.evaluate.task import Task"),
        ("relay_core/cli/demo.py", "'the problems are in relay_core.bundled.task'"),
        ("benchmarks/decode.py", "from testing.streams import collect"),
    ],
)
def test_an_import_along_an_arrow_is_none(tmp_path: Path, importer: str, statement: str) -> None:
    targets = ("relay_core/bundled/__init__.py", "relay_core/bundled/task.py", "testing/streams.py")
    assert violations_of(tmp_path, {**dict.fromkeys(targets, ""), importer: statement + "\n"}) == []


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    body = "    x = 1\n"
    files = {
        "relay_core/relay.py": "\n" * 301,
        "relay_core/long.py": "\n" * 401,
        "relay_core/allowed.py": "\n" * 400,
        "testing/long.py": "\n" * 401,
        "tests/long.py": "\n" * 401,
        "benchmarks/function.py": "def f():\n" + body * 60 + "\n\ndef g():\n" + body * 59,
        **{f"relay_core/small{i}.py": "" for i in range(4)},
    }
    assert violations_of(tmp_path, files) == [
        "benchmarks/function.py: f has 61 lines; at most 60",
        "relay_core/long.py: 401 lines; at most 400",
        "relay_core/relay.py: 301 lines; at most 300",
        "testing/long.py: 401 lines; at most 400",
    ]
    assert violations_of(tmp_path / "other", {"relay_core/a.py": "\n" * 111}) == [
        "the median module has 111 lines; at most 110"
    ]


def test_a_violation_ends_with_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    violations_of(tmp_path, {"relay_core/long.py": "\n" * 401})
    assert rooms.main(tmp_path) == 1
    assert "relay_core/long.py: 401 lines; at most 400" in capsys.readouterr().out
