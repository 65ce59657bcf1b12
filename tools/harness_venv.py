"""Makes .venv-harnesses: the evaluation harnesses of docs/harnesses.md, for the tests of their adapters.

    .venv/bin/python tools/harness_venv.py           # make harnesses: installs what requirements/harnesses.txt pins
    .venv/bin/python tools/harness_venv.py --newest  # installs what pip finds, and rewrites requirements/harnesses.txt

The harnesses require other versions than this project is tested with, so they have an environment of their own. It lies
over .venv: what it does not have itself, it takes from there, so that torch is not installed twice.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / ".venv-harnesses"
PINS = ROOT / "requirements" / "harnesses.txt"
HEAD = "# Written by tools/harness_venv.py --newest: what .venv-harnesses has over .venv.\n"
EXTRAS = ("lm-eval", "inspect-ai", "lighteval")


def main(*, newest: bool) -> None:
    """Make the environment anew.

    Args:
        newest: install the newest versions that pip finds, and pin them.
    """
    venv.create(TARGET, clear=True, with_pip=False, symlinks=True)
    site = TARGET / sysconfig.get_path("purelib", vars={"base": "", "platbase": ""}).lstrip("/")
    (site / "over.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [str(TARGET / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    if newest:
        from relay_core.extras import requirements

        wanted = [line for extra in EXTRAS for line in requirements(extra) or []]
        subprocess.run([*pip, "install", *wanted], check=True)
        listed = subprocess.run([*pip, "freeze", "--local"], check=True, capture_output=True, text=True).stdout
        PINS.write_text(HEAD + listed, encoding="utf-8")
    else:
        subprocess.run([*pip, "install", "--no-deps", "--no-compile", "--requirement", str(PINS)], check=True)
    # lighteval 0.13 downloads this file of one of its tasks whenever it starts; the tests have no network
    (site / "lighteval" / "tasks" / "tasks" / "tinyBenchmarks.pkl").touch()


if __name__ == "__main__":
    main(newest="--newest" in sys.argv[1:])
