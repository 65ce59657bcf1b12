"""What a check found, and what all checks share: the recipe, its problems and its models' tokenizers, read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from relay_core.engines.base import Engine
from relay_core.engines.spec import EngineSpec, Scheme
from relay_core.errors import RelayError
from relay_core.evaluate.task import Problem, Task, task_from_spec, up_to
from relay_core.tokenizer import Tokenizer
from relay_core.train import models
from relay_core.train.problems import training_problems
from relay_core.train.recipe import Recipe


class Level(StrEnum):
    """How bad a finding is; an error stops the run."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; the text of an error says what to write instead."""

    level: Level
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.subject:<12} {self.text}"


class Check(NamedTuple):
    """A check: its subject, and a function that yields levels and texts. An error that it raises is a finding too."""

    subject: str
    find: Callable[[Inspection], Iterator[tuple[Level, str]]]

    def run(self, inspection: Inspection) -> Iterator[Finding]:
        """All findings."""
        try:
            for level, text in self.find(inspection):
                yield Finding(level, self.subject, text)
        except RelayError as error:
            yield Finding(Level.ERROR, self.subject, str(error))


class Inspection:
    """A recipe under inspection.

    Args:
        recipe: the run's values.
        out: the folder of the run; it need not be there.
        world: the number of processes.

    ``teacher`` is the engine, once a check has started it. ``no_models`` says why no check may load a model.
    """

    def __init__(self, recipe: Recipe, out: Path, world: int) -> None:
        self.recipe, self.out, self.world = recipe, out, world
        self.teacher: Engine | None = None
        self.no_models = ""

    @cached_property
    def task(self) -> Task:
        """The recipe's task."""
        return task_from_spec(self.recipe.task)

    @cached_property
    def problems(self) -> Mapping[str, list[Problem]]:
        """The problems of each stage, as the stages draw them."""
        recipe, task = self.recipe, self.task
        drawn = {"distill": training_problems(task, recipe, "distill")} if recipe.distills else {}
        drawn |= {"warmup": training_problems(task, recipe, "warmup")} if recipe.grpo.calls else {}
        drawn["filter"] = training_problems(task, recipe, "filter")
        return {**drawn, "measure": list(up_to(task, "test", recipe.measure.problems))}

    @cached_property
    def student_source(self) -> str:
        """The folder or hub id of the student, or of the base of a student that is an adapter."""
        return models.base_of(self.recipe.student)

    @cached_property
    def student_tokenizer(self) -> Tokenizer:
        """The student's tokenizer."""
        return Tokenizer.load(self.student_source)

    @cached_property
    def teacher_specs(self) -> list[EngineSpec]:
        """The teacher, or the servers that take its requests in turn."""
        named = self.recipe.teacher
        specs = [named] if isinstance(named, str) else list(named)
        return [EngineSpec.parse(spec).for_role("teacher") for spec in specs]

    def started(self, teacher: Engine) -> None:
        """Take the teacher's engine, and its tokenizer, which an endpoint may know only now."""
        self.teacher = teacher
        if self.__dict__.get("teacher_tokenizer") is None:
            self.__dict__.pop("teacher_tokenizer", None)

    @cached_property
    def teacher_tokenizer(self) -> Tokenizer | None:
        """The teacher's tokenizer; ``None`` if only its server has it."""
        if self.teacher is not None:
            return self.teacher.tokenizer
        spec = self.teacher_specs[0]
        return None if spec.scheme is Scheme.OPENAI else Tokenizer.load(spec.source)

    @cached_property
    def config(self) -> Any:
        """The config of the student's model; ``None`` if it cannot be read."""
        from relay_core.train.memory import config_of

        return config_of(self.student_source)
