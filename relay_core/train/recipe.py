"""A recipe: all values of a training run, from one YAML file and flags that replace single values.

The dataclasses in ``sections.py`` declare the names of each section. An unknown name is refused, and the error suggests
the nearest known one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.evaluate.task import task_from_spec
from relay_core.settings import RelaySettings
from relay_core.train.fields import Count, CountOrNone, check_fields
from relay_core.train.sections import Distill, Filter, Grpo, Lora, Measure, Supervised, Warmup


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run.

    Args:
        student: engine spec of the student that training starts from.
        teacher: engine spec of the teacher, or several specs of servers of one model, which take requests in turn.
        task: the spec of a task; see :func:`relay_core.evaluate.task.task_from_spec`.
        seed: decides every random draw of the run.
        threads: torch's threads on the CPU; ``None`` leaves the number to torch.
        relay: the settings of every answer, the same in rollouts and measurements.
        lora: an adapter to train instead of all weights.
        distill, warmup, filter, grpo, measure: the sections of the stages.
    """

    student: str = "bundled:student-base"
    teacher: str | Sequence[str] = "bundled:teacher"
    task: str | Mapping[str, Any] = "bundled"
    seed: CountOrNone = 0
    threads: Count | None = None
    relay: Mapping[str, Any] = field(default_factory=dict)
    lora: Lora = field(default_factory=Lora)
    distill: Distill = field(default_factory=Distill)
    warmup: Warmup = field(default_factory=Warmup)
    filter: Filter = field(default_factory=Filter)
    grpo: Grpo = field(default_factory=Grpo)
    measure: Measure = field(default_factory=Measure)

    def __post_init__(self) -> None:
        check_fields("", self)
        task_from_spec(self.task)
        self.settings()

    def settings(self, **overrides: Any) -> RelaySettings:
        """The settings of an answer, the same limits in training and measurement (docs/method.md, fault 7)."""
        settings = RelaySettings().merged(dict(self.relay)).merged(overrides)
        if settings.trigger.command_bias:
            raise ConfigurationError(
                f"relay.trigger is {str(settings.trigger)!r}: a student is trained on what it samples without a bias; "
                "leave the bias out here, and set it when you use the student"
            )
        return settings

    @property
    def distills(self) -> bool:
        """Whether the run begins with distillation; plain GRPO (``grpo.calls: false``) needs none."""
        return bool(self.distill.problems) and self.grpo.calls

    @property
    def supervised(self) -> Mapping[str, Supervised]:
        """The sections of the supervised stages that the run has, by the stage's name."""
        stages: dict[str, Supervised] = {"distill": self.distill} if self.distills else {}
        return stages | ({"warmup": self.warmup} if self.grpo.calls else {})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and JSON."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]


_SECTIONS: dict[str, type[Any]] = {
    "lora": Lora,
    "distill": Distill,
    "warmup": Warmup,
    "filter": Filter,
    "grpo": Grpo,
    "measure": Measure,
}


def load(name_or_file: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name_or_file: the name of a recipe that ships, or the path of a YAML file.
        overrides: values to replace, by dotted name, such as ``{"grpo.trainer.learning_rate": 1e-4}``.

    Raises:
        ConfigurationError: there is no such recipe, it is not a mapping, or it holds an unknown name.
    """
    values = yaml.safe_load(_text(name_or_file)) or {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"recipe {name_or_file}: write a mapping of sections, not a {type(values).__name__}")
    _refuse_short(values, overrides or {})
    _override(values, overrides or {})
    return build(values)


def _refuse_short(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if a flag lacks its section, and name the values that end in the same word."""
    from relay_core.evaluate.dataset import DatasetTask

    top = [field.name for field in dataclasses.fields(Recipe)]
    named = {**_SECTIONS, "relay": RelaySettings, "task": DatasetTask}
    dotted = [f"{section}.{field.name}" for section, cls in named.items() for field in dataclasses.fields(cls)]
    for section in ("distill", "warmup", "grpo"):
        trainer = (values.get(section) or {}).get("trainer") if isinstance(values.get(section), dict) else None
        dotted += [f"{section}.trainer.{name}" for name in trainer or {}]
    for name in overrides:
        if "." not in name and name not in top:
            same = [f"--{other}" for other in dotted if other.rpartition(".")[2] == name]
            hint = f"did you mean {' or '.join(same)}?" if same else did_you_mean(name, [*top, *dotted])
            raise ConfigurationError(f"the recipe has no --{name}; {hint}")


def _override(values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Replace values by dotted name, in place. With another task, the shares of the recipe's own groups go."""
    if overrides.get("task", values.get("task")) != values.get("task"):
        for section in values.values():
            if isinstance(section, dict):
                section.pop("mix", None)
    for dotted in sorted(overrides, key=lambda name: name != "task"):
        if dotted.startswith("task.") and isinstance(values.get("task"), str):
            values["task"] = {"path": values["task"]}
        _set(values, dotted, overrides[dotted])


def build(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain nested values.

    Raises:
        ConfigurationError: a name is unknown, or a section is not a mapping.
    """
    top = dict(values)
    _known("", top, Recipe)
    for name, section in _SECTIONS.items():
        if name in top:
            inner = top[name] or {}
            if not isinstance(inner, Mapping):
                raise ConfigurationError(f"{name} is {inner!r}: write a mapping")
            _known(f"{name}.", inner, section)
            top[name] = section(**inner)
    return Recipe(**top)


def shipped() -> list[str]:
    """The names of the recipes that ship."""
    folder = resources.files("relay_core.train") / "recipes"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def _text(name_or_file: str) -> str:
    path = Path(name_or_file)
    if path.is_file():
        return path.read_text(encoding="utf-8")
    if name_or_file in shipped():
        return (resources.files("relay_core.train") / "recipes" / f"{name_or_file}.yaml").read_text(encoding="utf-8")
    raise ConfigurationError(
        f"no recipe {name_or_file!r}: write the path of a YAML file, or one of: {', '.join(shipped())}"
    )


def _set(values: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"--{dotted}: {parent} is a value, not a section")
        values = inner
    values[last] = value


def _known(prefix: str, values: Mapping[str, Any], cls: type[Any]) -> None:
    known = [f"{prefix}{f.name}" for f in dataclasses.fields(cls)]
    for name in values:
        if f"{prefix}{name}" not in known:
            raise ConfigurationError(f"the recipe has no {prefix}{name}; {did_you_mean(f'{prefix}{name}', known)}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
