"""``relay doctor`` shows what is installed, what is missing and how to install it, and whether a model answers.

It starts only the models that ``--student`` and ``--teacher`` name. The exit code is 1 if one of them fails.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from relay_core import __version__, extras
from relay_core.cli import terminal
from relay_core.cli.doctor_memory import memory_line, memory_of
from relay_core.cli.options import JSON_HELP, NEVER_CALLED, STUDENT_HELP, TEACHER_HELP
from relay_core.engines import spec as engine_specs
from relay_core.errors import ConfigurationError, RelayError
from relay_core.keys import Role
from relay_core.unicode import printable

#: a question on which a student that was trained to call is likely to call
HARD_QUESTION = (
    "A box of pens holds 27 pieces. Max sells pens. First, Max orders 8 boxes. Second, a friend brings 300 more pens. "
    "Third, Max sells 2 pens. How many are there in the end?"
)
SHOWN = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "openai",
    "vllm",
    "langchain-core",
    "llama-index-core",
)


def doctor(
    student: Annotated[str | None, typer.Option(help=STUDENT_HELP, show_default=False)] = None,
    teacher: Annotated[str | None, typer.Option(help=TEACHER_HELP, show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Show versions, devices and missing packages; with --student or --teacher, check that the model answers."""
    report: dict[str, Any] = {
        "relay": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: extras.installed_version(name) for name in SHOWN},
        "devices": devices(),
        "extras": {
            extra: {"for": purpose, "missing": extras.missing(extra), "install": extras.install_line(extra)}
            for extra, purpose in extras.EXTRAS.items()
        },
        "bundled": bundled_weights(),
        "engines": {},
    }
    specs: dict[Role, str | None] = {"student": student, "teacher": teacher}
    report["memory"] = memory_of(specs)
    for role, spec in specs.items():
        if spec is not None:
            report["engines"][role] = asyncio.run(try_engine(spec, role))
    if json:
        terminal.print_json(report)
    else:
        _print_table(report)
    if not all(engine["answers"] for engine in report["engines"].values()):
        raise typer.Exit(1)


def devices() -> list[str]:
    """The devices that models can run on, the fastest first."""
    try:
        import torch
    except ImportError:
        return []
    names = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, f"cpu ({torch.get_num_threads()} threads)"]


def bundled_weights() -> dict[str, int | None]:
    """The size of each bundled model's weights in bytes; ``None`` if they are missing."""
    sizes: dict[str, int | None] = {}
    for name in engine_specs.bundled_names():
        try:
            folder = engine_specs.EngineSpec(engine_specs.Scheme.BUNDLED, name).source
        except ConfigurationError:
            sizes[name] = None
        else:
            sizes[name] = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
    return sizes


async def try_engine(spec: str, role: Role) -> dict[str, Any]:
    """Start an engine and let it answer; returns its description, and the error if one occurred.

    A teacher writes one token. A student answers a hard question; ``commands`` is the number of commands that it wrote.
    """
    from relay_core.relay import Relay

    try:
        engine = engine_specs.engine_from_spec(spec, role=role)
    except RelayError as error:
        return {"spec": engine_specs.without_secrets(spec), "answers": False, "error": str(error)}
    try:
        await engine.start()
        if role == "teacher":
            await Relay(engine, None).agenerate("Say yes.", max_tokens=1)
            return {**engine.describe(), "answers": True}
        usage = (await Relay(engine, None).agenerate(HARD_QUESTION, max_tokens=96)).usage
        return {**engine.describe(), "answers": True, "commands": usage.refused_calls + usage.malformed_calls}
    except RelayError as error:
        return {**engine.describe(), "answers": False, "error": str(error)}
    finally:
        await engine.aclose()


def _print_table(report: dict[str, Any]) -> None:
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
        table.add_row(f"extra {extra}", Text(f"{_readiness(state['missing'], state['install'])} ({state['for']})"))
    for name, size in report["bundled"].items():
        build = "missing: python -m relay_core.bundled.build"
        table.add_row(f"bundled:{name}", build if size is None else f"{size / 1e6:.1f} MB")
    if report["memory"] is not None:
        table.add_row("memory", Text(printable(memory_line(report["memory"]))))
    for role, engine in report["engines"].items():
        table.add_row(role, Text(printable(_engine_line(engine))))
    terminal.out().print(table, soft_wrap=False)
    sys.stdout.flush()


def _readiness(unmet: list[str] | None, install: str) -> str:
    if unmet is None:
        return "unknown"
    return f"lacks {', '.join(unmet)}: {install}" if unmet else "ready"


def _engine_line(engine: dict[str, Any]) -> str:
    outcome = "answers" if engine["answers"] else f"FAILS: {engine['error']}"
    details = [
        f"{key}={value}"
        for key, value in engine.items()
        if key not in ("answers", "error", "spec") and value not in (None, {})
    ]
    if engine.get("commands") == 0:
        details.append(NEVER_CALLED)
    return f"{engine['spec']}: {outcome}; {', '.join(details)}"
