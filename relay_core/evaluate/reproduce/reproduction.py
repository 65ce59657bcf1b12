"""Trains what is missing for a pair, evaluates with every seed, and writes the page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from relay_core.evaluate.evaluator import evaluate
from relay_core.evaluate.prices import EXAMPLE_PRICES
from relay_core.evaluate.report.summary import BenchmarkSummary
from relay_core.evaluate.report.tables import Table, tables
from relay_core.evaluate.reproduce.beside import for_each_seed
from relay_core.evaluate.reproduce.page import write_page
from relay_core.evaluate.reproduce.pairs import Pair
from relay_core.evaluate.reproduce.paper import directions
from relay_core.evaluate.reproduce.sections import (
    Specs,
    ablation_table,
    direction_table,
    main_table,
    order_table,
    router_table,
)
from relay_core.evaluate.reproduce.students import ablation_students, citer_head
from relay_core.evaluate.run import shown

PAGES = Path("docs/reproduction")
"""The folder of the committed pages, seen from the root of the repository."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """The paper's tables for a pair.

    Args:
        pair: the pair of models.
        out: the folder of the page; students in its folder ``students``, or beside the page that is committed
            (:data:`PAGES`), need no training.
        work: a folder for students, answers and reports; what is there is not made again.
        seeds: one evaluation each; a seed draws other problems.
        limit: the most problems of each benchmark; ``None`` means the pair's own numbers.
        train: whether to train what is missing.
        command: the command that made it, for the page.
        data_dir: the files of the benchmarks, instead of the hub.
        student, teacher: where these models lie, if not where the pair says.
        processes: the most seeds that are evaluated beside each other, one process each.
    """

    pair: Pair
    out: Path
    work: Path
    seeds: Sequence[int]
    limit: int | None = None
    train: bool = True
    command: str = ""
    data_dir: Path | None = None
    student: str | None = None
    teacher: str | None = None
    processes: int = 1

    def write(self) -> Path:
        """Train what is missing, evaluate with every seed, and write the page; returns its path.

        Raises:
            RelayError: a student is missing or cannot be trained, or an engine failed; all earlier answers are kept.
        """
        pair = self.pair
        specs = self._specs()
        resumed = any(self.work.glob("seed-*/answers.jsonl"))
        began = time.monotonic()
        evaluated = partial(self._evaluated, specs=specs)
        by_seed = for_each_seed(evaluated, self.seeds, processes=self.processes)
        minutes = (time.monotonic() - began) / 60
        took = "It was made in several runs." if resumed else f"The evaluation took {minutes:.0f} minutes."
        made = _tables(pair, by_seed, lambda name: specs.get(name, name))
        pictures = self.work / f"seed-{self.seeds[0]}" / "pictures"
        answers = [self.work / f"seed-{seed}" / "answers.jsonl" for seed in self.seeds] if pair.keeps_answers else []
        return write_page(self.out, pair, by_seed, made, pictures, command=self.command, took=took, answers=answers)

    def _specs(self) -> dict[str, str]:
        """From the names in the paper's tables (:data:`Specs`) to methods; trains what is missing."""
        pair = self.pair
        places = [self.out / "students", PAGES / pair.name / "students"], self.work / "students"
        students = ablation_students(pair, *places, train=self.train)
        weak = pair.weak_teachers.items()
        return {
            **{f"ablation:{name}": f"relay,student={spec},label={name}" for name, spec in students.items()},
            **{f"weak:{name}": f"relay,teacher={spec},label=with {name}" for name, spec in weak},
            **({"citer": f"citer:{citer_head(pair, *places, train=self.train)}"} if "{citer}" in pair.methods else {}),
        }

    def _evaluated(self, seed: int, specs: Mapping[str, str]) -> Sequence[BenchmarkSummary]:
        """The pair's own task, and the others."""
        pair = self.pair
        trained = [spec for name, spec in specs.items() if name != "citer"]
        own = self._measured([pair.benchmark], [*pair.methods, *trained], pair.limit, seed, specs)
        return [*own, *self._measured(pair.others, pair.others_methods, pair.others_limit, seed, specs)]

    def _measured(
        self, benchmarks: Sequence[str], methods: Sequence[str], most: int, seed: int, specs: Mapping[str, str]
    ) -> Sequence[BenchmarkSummary]:
        pair = self.pair
        if not benchmarks:
            return []
        return evaluate(
            benchmarks,
            [method.format(citer=specs.get("citer"), teacher=self.teacher or pair.teacher) for method in methods],
            student=self.student or pair.student,
            teacher=self.teacher or pair.teacher,
            base=pair.base,
            settings=dict(pair.settings),
            limit=most if self.limit is None else min(most, self.limit),
            seed=seed,
            tune_on=pair.benchmark if benchmarks == pair.others else None,
            out=self.work / f"seed-{seed}{'-others' if benchmarks == pair.others else ''}",
            data_dir=self.data_dir,
            title=f"{pair.name}, seed {seed}",
            command=self.command,
            stage=shown if self.processes == 1 or len(self.seeds) == 1 else partial(shown, process=f"seed {seed}, "),
        ).summaries


def _tables(pair: Pair, by_seed: Mapping[int, Sequence[BenchmarkSummary]], specs: Specs) -> list[Table]:
    """All tables: those of the paper, the order of the methods for each seed, and everything that was measured."""
    first = next(iter(by_seed.values()))
    own = {seed: summaries[0] for seed, summaries in by_seed.items()}
    groups = list(first[0].methods[0].groups)
    compared = directions(list(pair.weak_teachers), groups[:1], groups[1:])
    return [
        main_table(first[0], specs),
        router_table(first[0]),
        ablation_table(first[0], specs),
        direction_table(first, compared, specs, pair.unseen),
        *([order_table(own, [m.method for m in first[0].methods])] if len(own) > 1 else []),
        *(main_table(summary, specs) for summary in first[1:]),
        *(
            replace(table, title=f"{summary.title}, seed {seed}: {table.title[0].lower()}{table.title[1:]}")
            for seed, summaries in by_seed.items()
            for summary in summaries
            for table in tables(summary, EXAMPLE_PRICES)
        ),
    ]
