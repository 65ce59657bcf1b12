"""What all tests share: Qwen3's tokenizer, no network, no skip that goes unseen, no task left behind."""

from __future__ import annotations

import asyncio
import inspect
import lzma
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

# Before anything imports them: nothing is fetched, nothing is drawn, and one core is enough.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def qwen3_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Qwen3's tokenizer and chat template; no model in it."""
    folder = tmp_path_factory.mktemp("qwen3")
    for source in (DATA / "qwen3").iterdir():
        if source.suffix == ".xz":
            with lzma.open(source) as packed, open(folder / source.stem, "wb") as plain:
                shutil.copyfileobj(packed, plain)
        elif not (source.parent / f"{source.name}.xz").exists():
            shutil.copy(source, folder / source.name)
    return folder


@pytest.fixture(scope="session")
def qwen3(qwen3_path: Path) -> Tokenizer:
    """Qwen3's tokenizer: the real vocabulary of 151,669 entries."""
    from relay_core.tokenizer import Tokenizer

    return Tokenizer.load(qwen3_path)


# -- a skip is a failure in CI, except for want of a GPU -------------------------------------------------------


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _in_ci() and item.get_closest_marker("gpu") is None:
        report.outcome, report.longrepr = "failed", f"skipped, which CI=true does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    if report.outcome == "skipped" and _in_ci():
        report.outcome, report.longrepr = "failed", f"skipped, which CI=true does not allow: {report.longrepr}"
    return report


# -- no asyncio task outlives its test -------------------------------------------------------------------------


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fails a test that leaves tasks running on its loop; those about to end are given a second."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=1)
    assert not left, f"the test left tasks running: {sorted(map(repr, left))}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(inspect.unwrap(item.obj)):
            item.fixturenames.insert(0, "no_task_left")
