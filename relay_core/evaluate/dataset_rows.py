"""Rows of a dataset: a JSONL file, a Parquet file, or a split of a dataset on the hub. A row is a dictionary."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from relay_core import hub
from relay_core.errors import ConfigurationError, MissingExtraError

Row = dict[str, Any]

SUFFIXES = (".jsonl", ".parquet")
ACCEPTED = "the path of a .jsonl or .parquet file, a folder of such files, or a hub id such as openai/gsm8k"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Location(StrEnum):
    """The kind of place where a dataset is stored."""

    FILE = "file"
    FOLDER = "folder"
    HUB = "hub"


def locate(path: str) -> Location:
    """Whether ``path`` names a file, a folder or a dataset on the hub.

    Raises:
        ConfigurationError: ``path`` is neither an existing file or folder nor a hub id.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        return Location.FOLDER
    if local.is_file():
        if local.suffix not in SUFFIXES:
            raise ConfigurationError(f"{path} ends in {local.suffix or 'no suffix'}: write {ACCEPTED}")
        return Location.FILE
    if local.suffix in SUFFIXES or path.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(path):
        raise ConfigurationError(f"there is no file {path}: write {ACCEPTED}")
    return Location.HUB


def file_rows(path: Path) -> list[Row]:
    """The rows of a JSONL or Parquet file.

    Raises:
        ConfigurationError: the file is missing, cannot be read or has no rows.
        MissingExtraError: the file is a Parquet file, and the package pyarrow is not installed.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}: write {ACCEPTED}")
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _jsonl_rows(path)
    if not rows:
        raise ConfigurationError(f"{path} has no rows")
    return rows


def _jsonl_rows(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigurationError(f"{path}, line {number}: this is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ConfigurationError(f"{path}, line {number}: write one JSON object a line, not a {type(row).__name__}")
        rows.append(row)
    return rows


def _parquet_rows(path: Path) -> list[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("a task from a Parquet file (pyarrow)", "eval") from error
    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise ConfigurationError(f"{path} cannot be read as Parquet: {error}") from error
    return rows


def hub_rows(path: str, config: str | None, split: str) -> list[Row]:
    """The rows of one split of a hub dataset, from the local cache if the dataset is there.

    Args:
        config: the dataset's configuration (``main`` of ``openai/gsm8k``), if it has several.
        split: the hub's name for the split.

    Raises:
        ConfigurationError: the dataset, its configuration or its split cannot be loaded.
        MissingExtraError: the package datasets is not installed.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError("a task from the hub (datasets)", "eval") from error
    hub.check_dataset(path)
    try:
        rows = [dict(row) for row in load_dataset(path, config, split=split)]
    except Exception as error:  # the hub client raises errors of many packages
        raise ConfigurationError(f"the split {split!r} of {path} cannot be loaded: {error}") from error
    if not rows:
        raise ConfigurationError(f"the split {split!r} of {path} has no rows")
    return rows


def cell(row: Row, column: str, source: str) -> Any:
    """A row's value in a column.

    Raises:
        ConfigurationError: there is no such column, or the row's cell is empty.
    """
    if column not in row:
        raise ConfigurationError(f"{source}: there is no column {column!r}; the columns are {', '.join(row)}")
    value = row[column]
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        raise ConfigurationError(f"{source}: the column {column!r} is empty")
    return value
