"""Distillation: the student learns to answer as the teacher does, from the teacher's own right answers.

It comes before warm-up and teaches nothing of calls. A small pretrained student that has never written an answer of
this kind may go wrong in its first sentence, where a call of a few tokens does not help. A student that writes as its
teacher does should need the teacher only for what it cannot learn, such as the digits of a product. This is
sequence-level distillation (Kim and Rush 2016, arXiv:1606.07947); the paper has no such stage.

The student that comes of it is also the honest rival of the relay: what the same teacher's answers give without a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from relay_core.evaluate.ray_data import Cluster
from relay_core.evaluate.store import write_json
from relay_core.evaluate.task import Task
from relay_core.relay import Relay
from relay_core.tokenizer import Tokenizer
from relay_core.train import processes
from relay_core.train.jobs import Job
from relay_core.train.sections import Distill
from relay_core.train.supervised import TrainingRows, row_behind
from relay_core.train.teacher_answers import answered


def training_rows(
    teacher: Relay,
    student: Tokenizer,
    task: Task,
    jobs: Sequence[Job],
    folder: Path,
    config: Distill,
    cluster: Cluster | None = None,
) -> TrainingRows:
    """The teacher's right answers, as rows to train the student on.

    An answer that a limit cut off has no end to train on, and is left out.

    Args:
        teacher: a relay whose student engine is the teacher, and which has no teacher to call.
        student: the tokenizer of the student.
        task: grades the answers.
        jobs: one answer to each problem.
        folder: receives ``answers.jsonl`` (answers that are there are not sampled again) and ``rows.json``: how many
            answers there are, how many are trained on, and the tokens that the teacher wrote for all of them.
        config: the recipe's section.
        cluster: the machines that answer; ``None`` means this process.

    Raises:
        ConfigurationError: the teacher answered no problem right, or the folder holds answers to other problems.
        EngineError: the teacher failed; all earlier answers are kept.
    """
    file = folder / "answers.jsonl"
    answers = answered(teacher, task, jobs, file, temperature=config.temperature, label="distill", cluster=cluster)
    thinking = teacher.settings.enable_thinking
    rows = [
        _row(student, job, str(answer["text"]), enable_thinking=thinking)
        for job, answer in zip(jobs, answers, strict=True)
        if answer["right"]
    ]
    if processes.is_main():
        wrote = sum(answer["tokens"] for answer in answers)
        write_json(folder / "rows.json", {"answers": len(answers), "rows": len(rows), "teacher_wrote": wrote})
    return rows


def _row(student: Tokenizer, job: Job, text: str, *, enable_thinking: bool) -> dict[str, list[int]]:
    end = student.hf.eos_token_id
    ids = [*student.encode(text), *([] if end is None else [int(end)])]
    return row_behind(job.problem, student, ids, ids, enable_thinking=enable_thinking)
