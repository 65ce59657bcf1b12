"""The stages in order, each from files to files, so that any of them can be run, repeated or resumed alone.

DIR/recipe.yaml          what this run is, every value
DIR/warmup/              samples.jsonl, checkpoints, tensorboard
DIR/student-warm/        a model folder
DIR/filter.jsonl         the teacher's pass rates
DIR/grpo/                rollouts.jsonl, checkpoints, tensorboard
DIR/student-relay/       a model folder (with `grpo.calls: false` student-grpo, and no warm-up)
DIR/training.png         the run in one picture
DIR/measured.json        figures on held-out problems
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml

from relay_core import portal
from relay_core.bundled import task
from relay_core.engines.base import Engine
from relay_core.engines.spec import engine_from_spec
from relay_core.errors import ConfigurationError
from relay_core.evaluate.measure import Measured, measure
from relay_core.relay import Relay
from relay_core.train import data_filter, grpo, models, plot, warmup
from relay_core.train.recipe import Recipe, build
from relay_core.train.store import Journal, write_json


class Run:
    """One run: a recipe, a folder, and its stages.

    Args:
        out: where everything goes. A folder that holds another recipe's run is refused.

    Raises:
        ConfigurationError: ``out`` belongs to another recipe.
    """

    def __init__(self, recipe: Recipe, out: Path) -> None:
        models.require_extra()
        import torch

        models.quiet()
        self.recipe, self.out = recipe, out
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        out.mkdir(parents=True, exist_ok=True)
        file = out / "recipe.yaml"
        if file.exists() and build(yaml.safe_load(file.read_text(encoding="utf-8"))).as_dict() != recipe.as_dict():
            raise ConfigurationError(f"{out} holds a run of another recipe (recipe.yaml): give another --out")
        file.write_text(yaml.safe_dump(recipe.as_dict(), sort_keys=False), encoding="utf-8")

    @property
    def warm(self) -> Path:
        return self.out / "student-warm"

    @property
    def trained(self) -> Path:
        return self.out / ("student-relay" if self.recipe.grpo.calls else "student-grpo")

    def engine(self, spec: str) -> Engine:
        """An engine of one's own for ``spec``, with room for a rollout's requests."""
        if spec.partition(":")[0] in ("openai", "vllm"):
            return engine_from_spec(spec, role="teacher")
        return engine_from_spec(spec, role="teacher", max_batch_tokens=1024, cache_tokens=128 * 512)

    # -- stages --------------------------------------------------------------------------------------------

    def all(self) -> dict[str, Any]:
        """Every stage; plain GRPO (``grpo.calls: false``) needs no warm-up."""
        if self.recipe.grpo.calls:
            self.warmup()
        self.grpo()
        return self.measure()

    def warmup(self) -> Path:
        """The student's own samples with commands in them, and training on these."""
        if models.is_saved(self.warm):
            return self.warm
        config, folder = self.recipe.warmup, self.out / "warmup"
        model, tokenizer = models.load(models.folder_of(self.recipe.student))
        problems = task.problems(config.problems, split="train", seed=self._seed(1), mix=_mix(config.mix))
        engine = models.engine_on(model, tokenizer, self.recipe.student)
        try:
            samples = warmup.sample(
                Relay(engine, None, self.recipe.settings()),
                [p.messages for p in problems],
                Journal(folder / "samples.jsonl"),
                temperature=config.temperature,
            )
        finally:
            portal.run(engine.aclose)
        if not samples:
            raise ConfigurationError(
                f"none of {len(problems)} samples of {self.recipe.student} ended: raise relay.max_tokens"
            )
        rows = warmup.rows(samples, engine.tokenizer.encode, config, seed=self.recipe.seed)
        warmup.fine_tune(model, tokenizer, rows, config, folder, seed=self.recipe.seed)
        models.save(model, tokenizer, self.warm)
        return self.warm

    def filter(self) -> list[task.Problem]:
        """The problems that the teacher passes."""
        config = self.recipe.filter
        problems = task.problems(config.problems, split="train", seed=self._seed(2), mix=_mix(config.mix))
        journal = Journal(self.out / "filter.jsonl")
        engine = self.engine(self.recipe.teacher)
        try:
            rates = data_filter.pass_rates(
                Relay(engine, None, self.recipe.settings()), problems, journal, config, key=_key, grade=task.grade
            )
        finally:
            portal.run(engine.aclose)
        return data_filter.kept(problems, rates, config.keep)

    def grpo(self) -> Path:
        """GRPO on the filtered problems, from the warmed-up student; without calls, from the student as it is."""
        if models.is_saved(self.trained):
            return self.trained
        problems = self.filter()
        if self.recipe.grpo.calls and not models.is_saved(self.warm):
            raise ConfigurationError(f"{self.warm} is not there: run the stage warmup first, with the same --out")
        first = str(self.warm) if self.recipe.grpo.calls else models.folder_of(self.recipe.student)
        model, tokenizer = models.load(first)
        teacher = self.engine(self.recipe.teacher) if self.recipe.grpo.calls else None
        try:
            rows = grpo.run(
                model, tokenizer, teacher, problems, self.recipe, self.out / "grpo", key=_key, grade=task.grade
            )
        finally:
            if teacher is not None:
                portal.run(teacher.aclose)
        plot.draw(rows, self.out / "training.png", f"GRPO, seed {self.recipe.seed}")
        models.save(model, tokenizer, self.trained)
        return self.trained

    def measure(self) -> dict[str, Any]:
        """Every model on held-out problems, greedily, through the relay."""
        began = time.monotonic()
        problems = task.demo_problems(self.recipe.measure.problems)
        teacher = self.engine(self.recipe.teacher)
        found: dict[str, Measured] = {"teacher": portal.run(_measured, Relay(teacher, None), problems, self, "teacher")}
        students = {"student-base": models.folder_of(self.recipe.student)}
        students |= {f.name: str(f) for f in (self.warm, self.trained) if models.is_saved(f)}
        for name, folder in students.items():
            engine = self.engine(folder)
            if name == "student-relay":
                found["relay"] = portal.run(_measured, Relay(engine, teacher), problems, self)
            found[name] = portal.run(_measured, Relay(engine, None), problems, self)
            portal.run(engine.aclose)
        portal.run(teacher.aclose)
        report: dict[str, Any] = {"problems": len(problems), "seed": self.recipe.seed}
        report["methods"] = {name: m.as_dict() for name, m in found.items()}
        if "relay" in found:
            base, best = found["student-base"].accuracy, found["teacher"].accuracy
            report["recovered"] = (found["relay"].accuracy - base) / (best - base) if best > base else None
        report["seconds"] = time.monotonic() - began
        write_json(self.out / "measured.json", report)
        return report

    def _seed(self, stage: int) -> int:
        return self.recipe.seed * 1000 + stage


async def _measured(relay: Relay, problems: list[task.Problem], run: Run, written_by: Any = "student") -> Measured:
    settings = {**run.recipe.relay, "temperature": 0.0}
    return await measure(relay, problems, written_by=written_by, calls=relay.teacher is not None, **settings)


def _key(problem: task.Problem) -> str:
    return problem.id


def _mix(mix: Any) -> Any:
    unknown = set(mix) - set(task.BANDS)
    if unknown:
        raise ConfigurationError(f"mix names {', '.join(sorted(unknown))}: the bands are {', '.join(task.BANDS)}")
    return {band: float(share) for band, share in mix.items()}
