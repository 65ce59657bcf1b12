"""Every answer of every rollout, in Parquet: ``grpo/rollouts/step-00012.parquet`` holds the rollout at step 12.

A file is written completely or not at all, with the schema below and zstd. pandas, pyarrow and datasets read the files
as they are: ``pandas.read_parquet("runs/mine/grpo/rollouts")``. ``selection.py`` chooses answers from them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError, MissingExtraError
from relay_core.usage import Usage

Row = Mapping[str, Any]
FOLDER = "rollouts"

_SCALARS = {
    "string": ("problem", "group", "text", "finish_reason", "scenario"),
    "int64": ("step", "seed"),
    "int32": ("rank", "k", "calls", "failed_calls", "malformed", "refused", "tokens", "teacher_tokens"),
    "bool_": ("truncated", "called", "correct", "dropped", "ungraded"),
    "float64": ("reward", "call_ratio", "cost", "sampler_gap", "sampler_gap_mean", "seconds"),
}
_LISTS = {
    "int32": ("prompt_ids", "completion_ids", "requested", "received"),
    "int8": ("env_mask",),
    "float32": ("logprobs",),  # the precision in which the sampler computes them
    "float64": ("call_seconds",),
    "string": ("authors",),
}
_USAGE = (*(f.name for f in fields(Usage)), "call_ratio")
#: every column of a file; ``segments`` (author and text) is the answer with its commands, as the student sees it
COLUMNS = (*(n for names in (*_SCALARS.values(), *_LISTS.values()) for n in names), "segments", "usage")


@cache
def schema() -> Any:
    """The ``pyarrow.Schema`` of a file: one field for each name in :data:`COLUMNS`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa = _pyarrow()
    types = {name: getattr(pa, kind)() for kind, names in _SCALARS.items() for name in names}
    types |= {name: pa.list_(getattr(pa, kind)()) for kind, names in _LISTS.items() for name in names}
    types["segments"] = pa.list_(pa.struct([("author", pa.string()), ("text", pa.string())]))
    types["usage"] = pa.struct([(name, pa.float64() if name == "call_ratio" else pa.int64()) for name in _USAGE])
    return pa.schema([(name, types[name]) for name in COLUMNS])


class RolloutFile:
    """Writes the rollouts of a run; only the main process writes, with the answers of all processes.

    Args:
        out: the folder of the GRPO stage; the files are in its folder ``rollouts``.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER
        schema()

    def write(self, step: int, rows: Sequence[Row]) -> Path:
        """Write the rollout at ``step``; it replaces the file of a rollout that a resumed run repeats.

        Args:
            step: the optimizer steps that were done before the rollout.
            rows: one mapping per answer. A column that a row lacks is null.

        Raises:
            ValueError: a row has a value for which the schema has no column.
            OSError: the file cannot be written; the previous file, if there is one, is unchanged.
        """
        from pyarrow import parquet

        unknown = {name for row in rows for name in row} - set(COLUMNS)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: no such column in relay_core/train/records.py")
        table = _pyarrow().Table.from_pylist([{**row, "step": step} for row in rows], schema=schema())
        path = self.folder / f"step-{step:05d}.parquet"
        temporary = self.folder / f".{path.name}.tmp"
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                parquet.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())  # a name that survives a power failure has its content
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return path


def files(folder: Path) -> dict[int, Path]:
    """The files of a run, by step, in the order of the steps.

    Args:
        folder: a run's folder, its folder ``grpo``, or the folder of the files.

    Raises:
        ConfigurationError: there are no such files.
    """
    for place in (folder / "grpo" / FOLDER, folder / FOLDER, folder):
        names = {path: re.fullmatch(r"step-(\d+)\.parquet", path.name) for path in place.glob("step-*.parquet")}
        steps = {int(match[1]): path for path, match in names.items() if match}
        if steps:
            return dict(sorted(steps.items()))
    raise ConfigurationError(
        f"{folder} holds no rollouts: write the folder of a run (the --out of python -m relay_core.train), in which "
        f"the stage grpo writes grpo/{FOLDER}/step-*.parquet"
    )


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("the answers of rollouts (pyarrow)", "train") from error
    return pyarrow
