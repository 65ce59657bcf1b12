"""Whether a folder's run can go on with a recipe: only values of stages that have written nothing may differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.train.models import is_saved

STAGES = ("distill", "warmup", "filter", "grpo", "measure")
_SHOWN = 4
_NOT_SET = "not set"


def check(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Compare the recipe of a run's folder with the present one.

    Args:
        out: the folder of the run.
        before, now: :meth:`Recipe.as_dict` of both.

    Returns:
        What to say of the values that differ; ``None`` if none does, or if no stage has written anything.

    Raises:
        ConfigurationError: a stage that depends on such a value has written files.
    """
    changes = {name: f"{name}: {a} -> {b}" for name, a, b in _differences(before, now)}
    written = [stage for stage in STAGES if has_written(out, stage)]
    if not changes or not written:
        return None
    kept = {name: line for name, line in changes.items() if set(stages_of(name)) & set(written)}
    if kept:
        raise ConfigurationError(
            f"{out} holds a run of another recipe ({_some(list(kept.values()))}), of which {_listed(written)} "
            f"{'has' if len(written) == 1 else 'have'} written files: choose another --out"
        )
    return f"{out}: the run goes on with other values ({_some(list(changes.values()))})"


def stages_of(name: str) -> tuple[str, ...]:
    """The stages whose files depend on a value; ``name`` is dotted.

    The teacher's answers do not depend on the pass rate that is required, nor does warm-up on the later stages.
    """
    section = name.partition(".")[0]
    if name in ("filter.keep", "filter.enabled") or section == "grpo":
        return ("grpo", "measure")
    return STAGES[STAGES.index(section) :] if section in STAGES else STAGES


def has_written(out: Path, stage: str) -> bool:
    """Whether a stage has left something that a later start would go on from."""
    if stage == "measure":
        return (out / "measured.json").exists()
    if stage == "grpo":
        trained = any(is_saved(out / name) for name in ("student-relay", "student-grpo"))
        rollouts = out / "grpo" / "rollouts.jsonl"
        return trained or (rollouts.exists() and rollouts.stat().st_size > 0) or any(out.glob("grpo/checkpoint-*"))
    student = {"distill": "student-distilled", "warmup": "student-warm"}.get(stage)
    saved = student is not None and is_saved(out / student)
    return saved or any(path.is_file() for path in (out / stage).rglob("*"))


def _differences(before: Any, now: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*before, *now]):
            dotted = f"{prefix}.{name}" if prefix else name
            yield from _differences(before.get(name, _NOT_SET), now.get(name, _NOT_SET), dotted)
    elif before != now:
        yield prefix, before, now


def _some(lines: list[str]) -> str:
    more = f", and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return ", ".join(lines[:_SHOWN]) + more


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
