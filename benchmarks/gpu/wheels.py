"""Download the packages that the lent GPU machine lacks, as wheels for its Python, into an ignored folder.

    python -m benchmarks.gpu.wheels

That machine has torch, tokenizers, accelerate, pytest and most other packages that the steps import, and no network. It
lacks pytest-asyncio, and its transformers (5.17.0) is older than the engine needs. vLLM and TRL are too large for what
may be carried there.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.results import ROOT

FOLDER = ROOT / ".whl"
PACKAGES = ("transformers", "pytest-asyncio")
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
MOST_MB = 45


def pinned(name: str) -> str:
    """The requirement of a package as constraints.txt pins it."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line for line in lines if re.match(rf"{re.escape(name)}==", line))


def download(folder: Path) -> None:
    """Download all wheels, without the packages that they need in turn: that machine has those."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder)]
    command += [argument for platform in PLATFORMS for argument in ("--platform", platform)]
    subprocess.run([*command, *map(pinned, PACKAGES)], check=True)


def main() -> int:
    """Download, print the sizes; the exit status is 1 if the folder is too large to be carried."""
    for old in FOLDER.glob("*.whl"):
        old.unlink()
    download(FOLDER)
    wheels = sorted(FOLDER.glob("*.whl"))
    total_mb = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    for wheel in wheels:
        print(f"{wheel.stat().st_size / 1e6:6.1f} MB  {wheel.name}")
    print(f"{total_mb:6.1f} MB  in {FOLDER}")
    return int(total_mb > MOST_MB)


if __name__ == "__main__":
    raise SystemExit(main())
