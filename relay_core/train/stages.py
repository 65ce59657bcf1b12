"""The stages of a run, in order. They read and write files in one folder:

    recipe.yaml          every value of the run
    distill/             answers.jsonl, of the teacher; rows.json; checkpoints, tensorboard (with `distill.problems`)
    student-distilled/   a model folder
    warmup/              the answers, in a file of the source's (``sources.py``); rows.json, blocked.json; checkpoints,
                         tensorboard
    student-warm/        a model folder with a model card
    filter/              answers.jsonl, and rates.jsonl: the teacher's pass rates
    grpo/                rollouts.jsonl (figures), rollouts/ (answers), checkpoints, tensorboard
    student-relay/       a model folder with a model card (with `grpo.calls: false`: student-grpo, and no warm-up)
    training.png         the plot of the run
    clock.json           the seconds that each stage took
    measured.json        figures on held-out problems, and what training cost

Each stage can be run, repeated or resumed separately. In a run of several processes (``processes.py``), all of them
sample and train, and the main process writes.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml

from relay_core import portal
from relay_core.engines.adapter_folder import is_adapter
from relay_core.engines.base import Engine
from relay_core.engines.in_turn import in_turn
from relay_core.errors import ConfigurationError
from relay_core.evaluate.comparison import Comparison, Method
from relay_core.evaluate.measure import Measured
from relay_core.evaluate.ray_data import Cluster
from relay_core.evaluate.store import read_rows, write_json, write_text
from relay_core.evaluate.task import Problem, task_from_spec, up_to
from relay_core.keys import Role
from relay_core.relay import Relay
from relay_core.train import (
    blocked,
    card,
    cost,
    data_filter,
    distill,
    grpo,
    models,
    plot,
    processes,
    same_run,
    sources,
    supervised,
)
from relay_core.train.checkpoints import disk_errors
from relay_core.train.jobs import jobs_for
from relay_core.train.problems import training_problems
from relay_core.train.recipe import Recipe, build
from relay_core.train.reporting import check_report_to


class Run:
    """One run: a recipe, a folder, and the stages.

    Args:
        recipe: the run's values.
        out: the folder for all files.
        cluster: the machines that sample in warm-up and filter; ``None`` means this process. The files are the same.

    Raises:
        ConfigurationError: ``out`` holds a run of another recipe (``same_run.py``).
        MissingExtraError: the training packages are not installed.
    """

    def __init__(self, recipe: Recipe, out: Path, cluster: Cluster | None = None) -> None:
        models.require_extra()
        import torch

        models.quiet()
        processes.start()
        check_report_to(recipe.distill.trainer, "distill")
        check_report_to(recipe.warmup.trainer, "warmup")
        check_report_to(recipe.grpo.trainer)
        self.recipe, self.out = recipe, out
        self.cluster = None if cluster is None else replace(cluster, cpus=recipe.threads or 1)
        self.task = task_from_spec(recipe.task)
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        out.mkdir(parents=True, exist_ok=True)
        file = out / "recipe.yaml"
        if file.exists():
            before = build(yaml.safe_load(file.read_text(encoding="utf-8")))
            if note := same_run.check(out, before.as_dict(), recipe.as_dict()):
                processes.say(note)
        processes.barrier()
        if processes.is_main():
            write_text(file, yaml.safe_dump(recipe.as_dict(), sort_keys=False))
            for half_written in out.glob(".student-*"):  # by a run that was killed
                shutil.rmtree(half_written, ignore_errors=True)

    @property
    def warm(self) -> Path:
        """The folder of the warmed-up student."""
        return self.out / "student-warm"

    @property
    def distilled(self) -> Path:
        """The folder of the distilled student."""
        return self.out / "student-distilled"

    @property
    def start(self) -> str:
        """The folder or hub id of the student that warm-up starts from."""
        return str(self.distilled) if self.recipe.distills else models.folder_of(self.recipe.student)

    @property
    def trained(self) -> Path:
        """The folder of the student after GRPO."""
        return self.out / ("student-relay" if self.recipe.grpo.calls else "student-grpo")

    @property
    def last(self) -> Path:
        """The folder of the run's last student: the one after GRPO if it is there, otherwise the warmed-up one."""
        return self.trained if models.is_saved(self.trained) else self.warm

    # -- stages --------------------------------------------------------------------------------------------

    def all(self) -> Comparison | None:
        """Run every stage; plain GRPO (``grpo.calls: false``) needs neither distillation nor warm-up."""
        if self.recipe.distills:
            self.distill()
        if self.recipe.grpo.calls:
            self.warmup()
        self.grpo()
        return self.measure()

    def distill(self) -> Path:
        """Train the student on the teacher's right answers (``distill.py``); returns the model folder.

        Raises:
            ConfigurationError: the recipe has no distillation, or the teacher answered no problem right.
        """
        if not self.recipe.distills:
            raise ConfigurationError(
                "the recipe has no distillation: write distill.problems, such as 600, and no grpo.calls: false"
            )
        if models.is_saved(self.distilled):
            processes.say(f"distill: skipped, for {self.distilled.name} is there")
            return self.distilled
        with cost.timed(self.out, "distill"):
            self._distill()
        return self.distilled

    def _distill(self) -> None:
        config, folder = self.recipe.distill, self.out / "distill"
        problems = training_problems(self.task, self.recipe, "distill")
        jobs = jobs_for(problems, 1, run_seed=self.recipe.seed, stage="distill")
        student = models.tokenizer_of(self.recipe.student)
        with models.closing(self._teacher()) as teacher:
            relay = Relay(teacher, None, self.recipe.settings())
            rows = distill.training_rows(relay, student, self.task, jobs, folder, config, self.cluster)
        model, tokenizer = self._trainable(models.folder_of(self.recipe.student))
        self._fine_tune(model, tokenizer, rows, "distill", self.distilled)

    def warmup(self) -> Path:
        """Make training rows of the student's own answers, with commands in them (``sources.py``), and train the
        student on them; returns the model folder.

        What that costs the student with calls blocked is measured and written to ``warmup/blocked.json``.

        Raises:
            ConfigurationError: the source cannot work with the teacher, no answer can be trained on, or warm-up starts
                from the distilled student, and the run's folder has none.
        """
        if self.recipe.distills and not models.is_saved(self.distilled):
            raise ConfigurationError(f"{self.distilled} is not there: run the stage distill first, with the same --out")
        with cost.timed(self.out, "warmup"):
            if models.is_saved(self.warm):
                processes.say(f"warmup: skipped, for {self.warm.name} is there")
            else:
                self._warm_up()
            self._measure_blocked("before", self.start)
            self._measure_blocked("after", str(self.warm))
        self._write_card(self.warm)
        return self.warm

    def _warm_up(self) -> None:
        config, folder = self.recipe.warmup, self.out / "warmup"
        with ExitStack() as engines:
            teacher = self._teacher() if sources.calls_teacher(self.recipe) else None
            if teacher is not None:
                engines.callback(portal.run, teacher.aclose)
            sources.check(self.recipe, teacher)
            self._measure_blocked("before", self.start)
            model, tokenizer = self._trainable(self.start)
            cluster = self.cluster if sources.spreads(self.recipe) else None
            if cluster is None:
                engine = models.engine_on(model, tokenizer, self.recipe.student)
            else:
                engine = models.engine_for_actors(self._spec_of(self.start), self.recipe.lora)
            engines.callback(portal.run, engine.aclose)
            problems = training_problems(self.task, self.recipe, "warmup")
            samples_each = -(-config.problems // len(problems))  # several, if the task has fewer problems
            jobs = jobs_for(problems, samples_each, run_seed=self.recipe.seed, stage="warmup")
            rows = sources.training_rows(self.recipe, self.task, engine, teacher, jobs, folder, cluster)
        self._fine_tune(model, tokenizer, rows, "warmup", self.warm)

    @property
    def blocked(self) -> dict[str, Any]:
        """The student's accuracy with calls blocked, before and after warm-up (``blocked.py``); empty before that."""
        return blocked.read(self.out / "warmup" / "blocked.json")

    def _measure_blocked(self, when: Literal["before", "after"], student: str) -> None:
        config = self.recipe.warmup
        if not config.blocked_problems:
            return
        problems = training_problems(self.task, self.recipe, "blocked")
        file = self.out / "warmup" / "blocked.json"
        blocked.measured(file, when, lambda: self._student(student), self.task, problems, self.recipe.settings())

    def filter(self) -> list[Problem]:
        """Measure the teacher's pass rates; returns the problems that are kept."""
        config = self.recipe.filter
        problems = training_problems(self.task, self.recipe, "filter")
        if not config.enabled:
            return problems
        jobs = jobs_for(problems, config.samples, run_seed=self.recipe.seed, stage="filter")
        with cost.timed(self.out, "filter"), models.closing(self._teacher()) as engine:
            relay = Relay(engine, None, self.recipe.settings())
            rates = data_filter.pass_rates(relay, self.task, jobs, self.out / "filter", config, self.cluster)
        return data_filter.kept(problems, rates, config.keep)

    def grpo(self) -> Path:
        """Train with GRPO on the filtered problems; returns the model folder.

        Training starts from the warmed-up student; with ``grpo.calls: false``, from the recipe's student. If the model
        is saved already, this stage does nothing.

        Raises:
            ConfigurationError: training starts from the warmed-up student, and the run's folder has none.
        """
        if models.is_saved(self.trained):
            processes.say(f"filter and grpo: skipped, for {self.trained.name} is there")
            self._write_card(self.trained)  # a run that was killed may lack it
            return self.trained
        problems = self.filter()
        if self.recipe.grpo.calls and not models.is_saved(self.warm):
            raise ConfigurationError(f"{self.warm} is not there: run the stage warmup first, with the same --out")
        with cost.timed(self.out, "grpo"):
            self._grpo(problems)
        self._write_card(self.trained)
        return self.trained

    def _grpo(self, problems: Sequence[Problem]) -> None:
        source = str(self.warm) if self.recipe.grpo.calls else models.folder_of(self.recipe.student)
        model, tokenizer = self._trainable(source)
        with models.closing(self._teacher() if self.recipe.grpo.calls else None) as teacher:
            rows, state = grpo.run(model, tokenizer, teacher, self.task, problems, self.recipe, self.out / "grpo")
        if processes.is_main():
            plot.draw(rows, self.out / "training.png", f"GRPO, seed {self.recipe.seed}")
        self._save(model, tokenizer, self.trained, state)

    def measure(self) -> Comparison | None:
        """Measure every model of the run, and the relay of the last one that calls, on held-out problems; writes
        ``measured.json``.

        Both models decode greedily. An answer that a limit cut off is graded as it is.

        In a run of several processes, the main process measures alone; the others return ``None`` at once.
        """
        if not processes.is_main():
            return None
        began = time.monotonic()
        problems = up_to(self.task, "test", self.recipe.measure.problems)
        settings = self.recipe.settings(temperature=0.0, teacher_temperature=0.0)
        measured: dict[str, Measured] = {}

        def add(name: str, relay: Relay, written_by: Role = "student") -> None:
            measured[name] = portal.run(Method(name, relay, written_by).measure, self.task, problems)

        processes.say(f"measure: {len(problems)} problems for each model of the run, and for the relay")
        students = {"student-base": models.folder_of(self.recipe.student)}
        made = (self.distilled, self.warm, self.trained)
        students |= {folder.name: str(folder) for folder in made if models.is_saved(folder)}
        caller = self.last.name if self.recipe.grpo.calls else None
        with models.closing(self._teacher()) as teacher:
            add("teacher", Relay(teacher, None, settings), written_by="teacher")
            for name, folder in students.items():
                with models.closing(self._student(folder)) as engine:
                    if name == caller:
                        add("relay", Relay(engine, teacher, settings))
                    add(name, Relay(engine, None, settings))
        labels = {name: name for name in measured}
        if "relay" in measured:
            labels |= {"relay": f"relay ({caller}, calls allowed)", str(caller): f"{caller}, calls refused"}
        comparison = Comparison(measured, labels, seconds=time.monotonic() - began, student="student-base")
        write_json(self.out / "measured.json", self.report(comparison))
        if models.is_saved(self.last):
            self._write_card(self.last)
        return comparison

    def report(self, comparison: Comparison) -> dict[str, Any]:
        """The comparison as plain values, with the run's seed, the recovered share of the gap, and training's cost."""
        recovered = {"recovered": comparison.recovered} if "relay" in comparison.methods else {}
        training = cost.of_training(self.out)
        return {"seed": self.recipe.seed, **comparison.as_dict(), **recovered, "training": training}

    def _write_card(self, folder: Path) -> None:
        """Write a student's model card; that of the run's last student has the figures that the run has of it."""
        if not processes.is_main():
            return
        file = self.out / "measured.json"
        is_last, is_reinforced = folder == self.last, folder == self.trained
        measured = json.loads(file.read_text(encoding="utf-8")) if is_last and file.exists() else None
        if measured and folder.name not in measured["methods"]:  # it was measured before this student was there
            measured = None
        with disk_errors(self.out):
            card.write(
                folder,
                self.recipe,
                is_reinforced=is_reinforced,
                measured=measured,
                rollouts=read_rows(self.out / "grpo" / "rollouts.jsonl") if is_reinforced else (),
                plot=self.out / "training.png" if is_reinforced else None,
                cost=cost.sentence(cost.of_training(self.out)) if is_last else "",
            )

    def _teacher(self) -> Engine:
        specs = [self.recipe.teacher] if isinstance(self.recipe.teacher, str) else list(self.recipe.teacher)
        return in_turn([models.sampling_engine(spec) for spec in specs])

    def _student(self, folder: str) -> Engine:
        """An engine on a student of this run; an adapter is put on the base that the run trains on."""
        base = models.base_of(self.recipe.student) if is_adapter(Path(folder).expanduser()) else None
        return models.sampling_engine(folder, base)

    def _spec_of(self, folder: str) -> str:
        """The spec of a student of this run; that of an adapter names its base."""
        if folder == models.folder_of(self.recipe.student):
            return self.recipe.student
        adapter = is_adapter(Path(folder).expanduser())
        return f"{folder}?base={models.base_of(self.recipe.student)}" if adapter else folder

    def _trainable(self, source: str) -> tuple[Any, Any]:
        return models.trainable(source, self.recipe.lora, models.base_of(self.recipe.student), seed=self.recipe.seed)

    def _fine_tune(self, model: Any, tokenizer: Any, rows: supervised.TrainingRows, stage: str, folder: Path) -> None:
        """Train a student with supervision, by the recipe's section of that name, and write it."""
        section, seed = getattr(self.recipe, stage), self.recipe.seed
        state = supervised.fine_tune(model, tokenizer, rows, section, self.out / stage, seed=seed, stage=stage)
        self._save(model, tokenizer, folder, state)

    def _save(self, model: Any, tokenizer: Any, folder: Path, state: Mapping[str, Any] | None) -> None:
        """Write a model folder, in the main process; every process goes on when it is there."""
        if processes.is_main():
            models.save(model, tokenizer, folder, self.recipe.lora, state)
        processes.barrier()
