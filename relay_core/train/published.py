"""What a model card may show of a recipe: of local paths the last part, and of servers, keys and tokens nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relay_core.engines.spec import EngineSpec, Scheme

_SECRET = re.compile(r"(^|_)(url|token|key|secret|password)$")


def public_spec(spec: str) -> str:
    """An engine spec for the public: without the address of a server, the way to a folder, and options."""
    parsed = EngineSpec.parse(spec)
    if parsed.scheme is Scheme.OPENAI:
        return f"openai:{_public_path(parsed.model)}@http://localhost:8000/v1"
    if parsed.scheme is Scheme.BUNDLED:
        return str(parsed)
    model = _public_path(parsed.model)
    model = model if model == parsed.model else f"./{model}"
    return f"vllm:{model}" if parsed.scheme is Scheme.VLLM else model


def _public_path(path: str) -> str:
    """Of a local path, its last part; a hub id as it is."""
    is_path = path.startswith(("/", "~", ".")) or Path(path).exists() or path.count("/") > 1
    return Path(path).name if is_path else path


def published(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values for the public."""
    shown = {n: _without_secrets(v) for n, v in values.items() if v is not None}
    shown["student"] = public_spec(values["student"])
    teacher = values["teacher"]
    shown["teacher"] = public_spec(teacher) if isinstance(teacher, str) else [public_spec(spec) for spec in teacher]
    if isinstance(base := shown["lora"].get("base"), str):
        shown["lora"]["base"] = _public_path(base)
    task = values["task"]
    if isinstance(task, str) and ":" not in task:
        shown["task"] = _public_path(task)
    elif isinstance(task, Mapping) and isinstance(task.get("path"), str):
        shown["task"]["path"] = _public_path(task["path"])
    return shown


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {n: _without_secrets(v) for n, v in value.items() if not _SECRET.search(n) and v is not None}
    return value
