"""Every example on docs/engines.md and docs/deploy.md is checked, also those that need a server or a GPU.

test_docs.py runs the Python blocks. The tests here check that every block is of a kind that some test checks, that the
real command line parses the `relay` lines and the real engines their specs, and that Python prints the figures on the
page. In tests/engines/test_docs_vllm.py, vLLM's own parser parses the lines of vLLM.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from relay_core import OpenAIEngine, VLLMEngine, engine_from_spec
from relay_core.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "engines.md", ROOT / "docs" / "deploy.md"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(relay [^`]+|vllm serve [^`]+|python benchmarks/[^`]+|pip install [^`]+|make [^`]+)`")


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCED.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks; continued lines are joined."""
    shell = [body for kind, body in blocks(page) if kind != "python"]
    return [line for body in shell for line in body.replace("\\\n", " ").splitlines() if line.strip()]


def mentioned(page: Path) -> list[str]:
    """The commands within the prose, except those with an ellipsis."""
    prose = FENCED.sub("", page.read_text(encoding="utf-8"))
    inline = [" ".join(command.split()) for command in INLINE.findall(prose)]
    return [command for command in inline if "..." not in command]


ALL = [command for page in PAGES for command in (*commands(page), *mentioned(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_example_is_of_a_kind_that_nothing_checks(page: Path) -> None:
    assert {kind for kind, _ in blocks(page)} == {"python", "sh"}
    assert not re.findall(r"\n\n {4}\S.*", FENCED.sub("", page.read_text(encoding="utf-8")))  # no fence, no check
    known = ("relay ", "vllm serve ", "python -m vllm.entrypoints.openai.api_server ", "export ", "pip install ")
    assert [command for command in commands(page) if not command.startswith(known)] == []


@pytest.mark.parametrize("line", [command for command in ALL if command.startswith("relay ")])
def test_a_relay_line_is_one_that_the_command_line_takes(line: str) -> None:
    group: Any = typer.main.get_command(app)
    with group.make_context("relay", shlex.split(line)[1:]) as context:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        with command.make_context(name, rest, parent=context) as parsed:
            specs = {role: parsed.params.get(role) for role in ("student", "teacher")}
    for role, spec in specs.items():
        if spec is not None and spec.startswith("openai:"):
            assert isinstance(engine_from_spec(spec, role=role), OpenAIEngine)
        elif spec is not None and spec.startswith("vllm:Qwen"):
            assert isinstance(engine_from_spec(spec, role=role), VLLMEngine)


@pytest.mark.parametrize("line", [command for command in ALL if command.startswith("pip install ")])
def test_a_pip_line_names_extras_that_there_are(line: str) -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    *options, what = shlex.split(line)[2:]
    name, _, named = what.rstrip("]").partition("[")
    if name == "socksio":
        return
    assert name == ".", "the package is on no index: it is installed from its clone"
    assert options in (["-e"], ["-c", "constraints.txt"])
    assert named and set(named.split(",")) <= set(extras)


@pytest.mark.parametrize("line", [command for command in ALL if command.startswith("make ")])
def test_a_make_line_names_a_target(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", [command for command in ALL if command.startswith("python benchmarks/")])
def test_a_benchmark_is_there(line: str) -> None:
    assert (ROOT / line.split()[1]).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_prints_what_the_page_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    source = "\n".join(body for kind, body in blocks(page) if kind == "python")
    figures = re.findall(r"^print\(.*\) +# (\S+)$", source, re.MULTILINE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, page.name, "exec"), names)
    shown = printed.getvalue().splitlines()
    assert len(shown) == source.count("print(") == len(figures)
    for line, figure in zip(shown, figures, strict=True):
        assert figure in line.split(": ")[1].split()


def test_the_options_of_our_engines_are_there() -> None:
    """Keyword arguments that prose or tables name exist; those of examples are used by running them."""
    import inspect
    from dataclasses import fields

    from relay_core import RelaySettings, TransformersEngine
    from relay_core.engines.openai.retries import Patience

    known = {
        name
        for engine in (OpenAIEngine, TransformersEngine, VLLMEngine)
        for name in inspect.signature(engine).parameters
    }
    known |= {field.name for owner in (Patience, RelaySettings) for field in fields(owner)}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        tables = re.findall(r"^\| (`[a-z_`, ]+`) \|", text, re.MULTILINE)
        named = {name for cell in tables for name in re.findall(r"`([a-z_]+)`", cell)} - {
            "ids",
            "completions",
            "chat",
            "bundled",
        }
        assert named <= known, named - known


def test_calls_of_vllm_engine_are_found() -> None:
    """The calls that tests/engines/test_docs_vllm.py looks for exist."""
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    tree = ast.parse("\n".join(body for kind, body in FENCED.findall(text) if kind == "python"))
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "VLLMEngine"
    ]
    assert len(calls) >= 3
