"""Three pretrained models in every kind of engine, each kind loaded once; and the tables that the run ends with.

`make test-real MODELS=DIR` runs these tests; `make test` does not collect them. The models are named by the environment
variable RELAY_REAL_MODELS, and otherwise lie where ``../shared/tools/real-models`` puts them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from relay_core import Engine
from testing import real_engines
from testing.real_engines import MODELS

DEFAULT = "~/.cache/relay-decoding/real-models"
FOLDER = Path(os.environ.get("RELAY_REAL_MODELS") or DEFAULT).expanduser()
KINDS = real_engines.kinds(FOLDER)
RUN = [kind for kind, reason in KINDS.items() if not reason]

#: (what, student, teacher, kind) -> "yes", "NO", or what the test says by record_property("cell", ...)
CELLS: dict[tuple[str, str, str, str], str] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shows(what): the row of the tables that a test of pretrained models belongs to")
    config.addinivalue_line("markers", "kinds(kind, ...): the kinds of engine that a test is for; without it, all")
    missing = [name for name in MODELS if not (FOLDER / name / "config.json").is_file()]
    if missing:
        raise pytest.UsageError(f"{FOLDER} lacks {', '.join(missing)}: run ../shared/tools/real-models {FOLDER}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "trio" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("kinds")
        kinds = [kind for kind in RUN if only is None or kind in only.args]
        metafunc.parametrize("trio", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the pretrained models."""
    return FOLDER


@pytest.fixture(scope="session")
def trio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Engine]]:
    """The models that this session's tests name, in one kind of engine; one kind is loaded at a time."""
    specs = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    named = {spec.get(role) for spec in specs if spec.get("trio") == request.param for role in ("student", "teacher")}
    names = [name for name in MODELS if name in named]
    with real_engines.engines(request.param, FOLDER, tmp_path_factory.mktemp("logs"), names) as engines:
        yield engines


# -- the tables --------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    marker, callspec = item.get_closest_marker("shows"), getattr(item, "callspec", None)
    if marker is not None and callspec is not None and (report.when == "call" or report.failed):
        values = callspec.params
        key = (marker.args[0], values.get("student", ""), values.get("teacher", ""), values["trio"])
        said = dict(item.user_properties).get("cell", "yes") if report.passed else "NO"
        CELLS[key] = CELLS[key] if CELLS.get(key, "yes") != "yes" else str(said)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not CELLS:
        return
    terminalreporter.section("pretrained models")
    for kind, reason in KINDS.items():
        if reason:
            terminalreporter.write_line(f"{kind} was not run: {reason}")
    for line in [*_table("student → teacher", _pairs()), "", *_table("", _features())]:
        terminalreporter.write_line(line)


def _pairs() -> dict[str, dict[str, list[str]]]:
    """Pair -> kind of engine -> outcomes."""
    rows: dict[str, dict[str, list[str]]] = {}
    for (_, student, teacher, kind), outcome in sorted(CELLS.items()):
        if teacher:
            rows.setdefault(f"{student} → {teacher}", {}).setdefault(kind, []).append(outcome)
    return rows


def _features() -> dict[str, dict[str, list[str]]]:
    """What was tested -> kind of engine -> outcomes."""
    rows: dict[str, dict[str, list[str]]] = {}
    for (what, student, teacher, kind), outcome in CELLS.items():
        row = what if teacher or not student else f"{what}: {student}"
        rows.setdefault(row, {}).setdefault(kind, []).append(outcome)
    return rows


def _table(head: str, rows: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """The rows as Markdown; a cell is ``yes`` if all of its tests passed, and ``–`` if there were none."""

    def cell(outcomes: list[str] | None) -> str:
        failed = (outcomes or []).count("NO")
        if failed:
            return f"NO ({failed} of {len(outcomes or [])})"
        return ", ".join(sorted(set(outcomes or ["–"])))

    lines = [f"| {head} | {' | '.join(RUN)} |", "| --- " * (len(RUN) + 1) + "|"]
    return lines + [f"| {row} | {' | '.join(cell(cells.get(k)) for k in RUN)} |" for row, cells in rows.items()]
