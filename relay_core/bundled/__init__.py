"""The pair that ships: where its models lie. What they are trained on is in `task.py`."""

from __future__ import annotations

from pathlib import Path

from relay_core.errors import ConfigurationError

NAMES: tuple[str, ...] = (
    "teacher",
    "student-base",
    "student-warm",
    "student-relay",
    "student-grpo",
)
WEIGHTS = Path(__file__).with_name("weights")


def path(name: str) -> Path:
    """The folder of a bundled model.

    Raises:
        ConfigurationError: there is no such model, or it has not been built here.
    """
    if name not in NAMES:
        raise ConfigurationError(f"no bundled model is called {name!r}; there are: {', '.join(NAMES)}")
    folder = WEIGHTS / name
    if not (folder / "model.safetensors").is_file():
        raise ConfigurationError(
            f"the bundled model {name!r} has no weights in {folder}; "
            "build them with: python -m relay_core.bundled.build"
        )
    return folder
