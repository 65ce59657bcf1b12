"""The report in headless Chromium: it opens, fits a phone's width, and prints. Needs `apt-get install chromium`."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from relay_core import Prices
from relay_core.evaluate.methods import methods_from
from relay_core.evaluate.report import summarize, write_report
from relay_core.evaluate.run import Evaluation
from testing.evaluations import FixedBenchmark, models

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
#: appended to the page by the test: says how wide the page is, and whether every picture was decoded
PROBE = """<script>addEventListener('load', () => { document.title = JSON.stringify({
  overflow: document.documentElement.scrollWidth - innerWidth,
  broken: [...document.images].filter(image => !image.naturalWidth).length, images: document.images.length,
  tables: document.querySelectorAll('table').length}) })</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import asyncio

    folder = tmp_path_factory.mktemp("report")
    evaluation = Evaluation(
        benchmarks=[FixedBenchmark(), FixedBenchmark(name="other")],
        methods=methods_from(["student relay teacher uncertain:0.5,9 random-router:0.5"], models()),
        settings={},
    )
    records, _ = asyncio.run(evaluation.run(None))
    write_report(folder, summarize(records, Prices(teacher_output=1)), Prices(teacher_output=1), about=["x" * 300])
    return folder / "report.html"


def chromium(folder: Path, *flags: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, "--disable-dev-shm-usage", "--virtual-time-budget=5000", *flags],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("width", [390, 1280])
def test_it_opens_and_nothing_is_wider_than_the_screen(report: Path, tmp_path: Path, width: int) -> None:
    # A window of headless Chromium is at least 500 pixels wide, so the phone is a frame.
    probed = tmp_path / "probed.html"
    probed.write_text(report.read_text().replace("</body>", f"{PROBE}</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe id=f src='probed.html' style='width:{width}px;height:800px;border:0'></iframe><script>"
        "addEventListener('load', () => setTimeout(() => { document.body.dataset.found = "
        "document.getElementById('f').contentDocument.title }, 500))</script>"
    )
    page = chromium(tmp_path, "--allow-file-access-from-files", "--dump-dom", frame.as_uri())
    found = re.search(r'data-found="([^"]*)"', page)
    assert found, page[-500:]
    value = json.loads(found[1].replace("&quot;", '"'))
    assert value["overflow"] <= 0 and value["broken"] == 0, value  # below 0: the width of a scroll bar
    assert value["images"] == 11 and value["tables"] == 10, value


def test_it_prints(report: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    chromium(tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", report.as_uri())
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 20_000
