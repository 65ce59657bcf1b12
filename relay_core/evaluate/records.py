"""The records of an evaluation: one row for each answer of each method, in Parquet.

``pandas.read_parquet("results/records.parquet")`` reads them. Every figure of a report is computed from these rows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError, MissingExtraError
from relay_core.evaluate.outcome import Outcome
from relay_core.usage import Usage

FILE = "records.parquet"


class Status(StrEnum):
    """What became of an answer. Each answer has one status; only ``RIGHT`` counts as right.

    An answer that the grader could not grade, because it failed or hung, is in no accuracy.
    """

    RIGHT = "right"
    WRONG = "wrong"
    TRUNCATED = "truncated"  # a limit cut it; wrong, whatever it holds
    UNANSWERED = "unanswered"  # it states no final answer, or the prompt did not fit into a model's context; wrong
    UNGRADED = "ungraded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One answer.

    ``benchmark``, ``problem``, ``sample``: what was asked, and which of the answers to it this is. ``group``,
    ``cluster``: the problem's. ``method``, ``label``, ``curve``: the method's spec, and its names in reports. ``seed``:
    the answer's own. ``gold``: the right answer, and ``stated``: the final answer that the text states, both as texts.
    """

    benchmark: str
    problem: str
    sample: int
    group: str
    method: str
    label: str
    curve: str
    seed: int
    gold: str
    stated: str | None
    status: Status
    outcome: Outcome
    cluster: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the answer counts as right."""
        return self.status is Status.RIGHT

    def as_row(self) -> dict[str, Any]:
        """Plain values: the record's own columns, and those of its outcome."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "outcome"}
        return {**own, "status": str(self.status), **self.outcome.as_row()}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Record:
        """The record in a row."""
        row = {"cluster": "", **row}  # files that are older than this column
        own = {f.name: row[f.name] for f in fields(cls) if f.name not in ("outcome", "status")}
        return cls(**own, status=Status(row["status"]), outcome=Outcome.of_row(row))


@cache
def schema() -> Any:
    """The ``pyarrow.Schema`` of the file.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa = _pyarrow()
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    part = [("author", text), ("text", text), ("tokens", whole)]
    call = [("place", whole), ("requested", whole), ("received", whole), ("seconds", real), ("error", text)]
    return pa.schema([
        *((name, text) for name in ("benchmark", "problem", "group", "cluster", "method", "label", "curve")),
        ("gold", text), ("stated", text),
        ("sample", whole), ("seed", whole), ("status", text), ("text", text), ("finish_reason", text),
        ("seconds", real), ("mean_logprob", real), ("min_logprob", real), ("chose", text),
        ("usage", pa.struct([(f.name, whole) for f in fields(Usage)])),
        ("parts", pa.list_(pa.struct(part))), ("calls", pa.list_(pa.struct(call))),
    ])  # fmt: skip


def write(folder: Path, records: Sequence[Record]) -> Path:
    """Write the records of an evaluation, completely or not at all.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OSError: the file cannot be written; the previous one, if there is one, is unchanged.
    """
    from pyarrow import parquet

    table = _pyarrow().Table.from_pylist([record.as_row() for record in records], schema=schema())
    path = folder / FILE
    temporary = folder / f".{FILE}.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def read(path: str | Path) -> list[Record]:
    """The records in a file, or in the folder of an evaluation.

    Raises:
        ConfigurationError: there is no such file, or it holds something else.
        MissingExtraError: pyarrow is not installed.
    """
    pa = _pyarrow()
    from pyarrow import parquet

    path = Path(path).expanduser()
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ConfigurationError(f"there is no {file}: write the folder of an evaluation (--out of relay eval)")
    try:
        return [Record.of_row(row) for row in parquet.read_table(file).to_pylist()]
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise ConfigurationError(f"{file} holds no records of an evaluation: {error}") from error


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("the records of an evaluation (pyarrow)", "eval") from error
    return pyarrow
