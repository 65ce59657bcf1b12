"""vLLM's own parser accepts the vLLM lines and arguments on docs/engines.md and docs/deploy.md; nothing is started."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shlex
from pathlib import Path

import pytest

from relay_core import VLLMEngine

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "engines.md", DOCS / "deploy.md"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SERVER = "python -m vllm.entrypoints.openai.api_server "


def text(page: Path, kind: str) -> str:
    return "\n".join(body for k, body in FENCED.findall(page.read_text(encoding="utf-8")) if k == kind)


def lines(page: Path) -> list[str]:
    return text(page, "sh").replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("line", [line for p in PAGES for line in lines(p) if line.startswith(("vllm serve ", SERVER))])
def test_vllm_takes_the_line(line: str) -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())
    words = shlex.split(line.removeprefix(SERVER).removeprefix("vllm serve "))
    parsed = parser.parse_args(words)
    validate_parsed_serve_args(parsed)
    assert parsed.port in (8000, 8001, 8002)
    if line.startswith("vllm serve "):
        assert parsed.model_tag == words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_vllm_has_the_arguments_of_vllm_engine(page: Path) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    calls = [node for node in ast.walk(ast.parse(text(page, "python"))) if isinstance(node, ast.Call)]
    named = {k.arg for node in calls if getattr(node.func, "id", "") == "VLLMEngine" for k in node.keywords}
    prose = re.search(r"`AsyncEngineArgs` pass through: (.*?)…", page.read_text(encoding="utf-8"), re.DOTALL)
    named |= set(re.findall(r"`(\w+)`", prose[1])) if prose else set()
    named -= set(inspect.signature(VLLMEngine).parameters)  # the engine's own arguments
    assert named and named <= known, named - known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_vllm_reads_the_variables(page: Path) -> None:
    from vllm import envs

    exported = [word for line in lines(page) if line.startswith("export ") for word in shlex.split(line)[1:]]
    names = [word.partition("=")[0] for word in exported]
    assert names and set(names) <= {*envs.environment_variables, "OMP_NUM_THREADS"}
