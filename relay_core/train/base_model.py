"""What a model card says of the model that training started from: its name, its hub id and its licence.

They come from the base's own model card (README.md with a YAML head), else from its config.json or LICENSE file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay_core import hub
from relay_core.engines.spec import EngineSpec, Scheme

UNKNOWN = {"license": "unknown"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LICENCE_FIELDS = ("license", "license_name", "license_link")
_TEXTS = {"apache license": "apache-2.0", "mit license": "mit"}


@dataclass(frozen=True)
class BaseModel:
    """The base of a trained model.

    ``name``: shown in the text; of a local folder, only the folder's name. ``hub_id``: ``None`` if no id is known.
    ``licence``: the fields ``license``, ``license_name`` and ``license_link`` of a model card, as far as known.
    """

    name: str
    hub_id: str | None = None
    licence: Mapping[str, str] = field(default_factory=lambda: UNKNOWN)


def base_model(spec: str, published_as: str | None = None) -> BaseModel:
    """Describe the model that a spec names; a licence that cannot be read, for whatever reason, is unknown.

    Args:
        spec: the spec of the student that training started from.
        published_as: the hub id of what lies in its folder (``lora.base``), if it is known; anything else is ignored.
    """
    parsed = EngineSpec.parse(spec)
    if parsed.scheme is Scheme.BUNDLED:  # it ships with relay-decoding, under its licence
        return BaseModel(str(parsed), None, {"license": "apache-2.0"})
    folder = Path(parsed.model).expanduser()
    if folder.is_dir():
        head = card_head(folder / "README.md")
        base_of_base = head.get("base_model")
        is_id = isinstance(base_of_base, str) and _HUB_ID.fullmatch(base_of_base)
        licence = _licence(head) or _licence_in(folder)
        if published_as is not None and _HUB_ID.fullmatch(published_as) and not Path(published_as).is_dir():
            return BaseModel(published_as, published_as, licence or base_model(published_as).licence)
        return BaseModel(folder.resolve().name, str(base_of_base) if is_id else None, licence or UNKNOWN)
    card = _from_hub(parsed.model)
    licence = _licence(card_head(card)) if card is not None else {}
    return BaseModel(parsed.model, parsed.model, licence or UNKNOWN)


def card_head(card: Path) -> dict[str, Any]:
    """The YAML head of a model card; empty if there is none that can be read."""
    import yaml

    try:
        head = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", card.read_text(encoding="utf-8"), re.DOTALL)
        values = yaml.safe_load(head[1]) if head else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def _licence(values: Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(values.get("license"), str):
        return {}
    return {name: str(values[name]) for name in _LICENCE_FIELDS if values.get(name)}


def _licence_in(folder: Path) -> dict[str, str]:
    """The licence in a folder's config.json, or the one whose text is in its LICENSE file."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if isinstance(config, dict) and (licence := _licence(config)):
            return licence
        beginning = next(iter(sorted(folder.glob("LICENSE*")))).read_text(encoding="utf-8")[:300]
    except (OSError, ValueError, StopIteration):
        return {}
    for text, name in _TEXTS.items():
        if text in beginning.lower():
            return {"license": name}
    return {"license": "other", "license_name": beginning.strip().splitlines()[0].strip()} if beginning.strip() else {}


def _from_hub(hub_id: str) -> Path | None:
    """The model card of a hub id, from the cache or the hub; ``None`` if it cannot be had."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub_id, "README.md", **hub.download_options(hub_id)))
    except Exception:  # the hub client raises errors of its HTTP client's; a card must not end a training run
        return None
