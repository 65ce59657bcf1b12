"""Warm-up's source `told`: the right answers of a student that is told when to call.

An instruct model of about 1B parameters follows instructions that say when to call (``relay_core/instructions.py``). It
answers with them, and with the teacher; its right answers are kept, behind the prompt without the instructions. So the
student learns to do untold what it did when told. The loss falls on the student's tokens and its commands; the n of a
command is the number of tokens that the teacher wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from relay_core import command
from relay_core.errors import ConfigurationError, TeacherUnavailable, did_you_mean
from relay_core.evaluate.objections import texts_of
from relay_core.evaluate.ray_data import Cluster
from relay_core.evaluate.task import Task, graded
from relay_core.events import TRUNCATED, RelayResult
from relay_core.instructions import BY_NAME
from relay_core.relay import Relay
from relay_core.tokenizer import Tokenizer
from relay_core.train.jobs import Job, JobFile, Row
from relay_core.train.sampling import sampled_rows
from relay_core.train.supervised import IGNORED, TrainingRows, row_behind
from relay_core.transcript import Author

_FEW = 10  # answers whose calls failed, before their share counts


def instructions(text_or_name: str) -> str:
    """The instructions that a recipe names, or its own.

    Raises:
        ConfigurationError: it is neither the name of shipped instructions nor a text with a command.
    """
    if text_or_name in BY_NAME:
        return BY_NAME[text_or_name]
    if command.OPEN not in text_or_name or command.CLOSE not in text_or_name:
        near = did_you_mean(text_or_name, BY_NAME) if len(text_or_name.split()) == 1 else f"names: {', '.join(BY_NAME)}"
        raise ConfigurationError(
            f"warmup.instructions is {text_or_name!r}: write the name of shipped instructions, or a text that shows a "
            f"command such as {command.write(8)}; {near}"
        )
    return text_or_name


def answers(
    relay: Relay,
    task: Task,
    jobs: Sequence[Job],
    folder: Path,
    text: str,
    cluster: Cluster | None = None,
    **sampling: Any,
) -> list[Row]:
    """The student's answers with instructions; rows in the order of the jobs.

    A row holds ``right`` (``None`` if the answer could not be graded), ``token_ids`` and ``labels`` (``None`` for an
    answer that cannot be trained on: it is not right, a call failed or brought nothing, or a command was refused or
    malformed), ``calls`` (the tokens that each brought),
    ``failed_calls``, ``teacher_read`` and ``teacher_wrote``.

    Args:
        relay: the student and the teacher.
        task: grades the answers.
        jobs: the answers to sample.
        folder: receives ``told.jsonl``; answers that are there are not sampled again.
        text: the instructions.
        cluster: the machines that answer; ``None`` means this process.
        sampling: settings of every answer, by name.

    Raises:
        TeacherUnavailable: calls failed in more than a tenth of the answers; the answers so far are kept.
        EngineError: the student failed.
    """
    answered = failed = 0

    def row(job: Job, result: RelayResult) -> Row:
        nonlocal answered, failed
        answered, failed = answered + 1, failed + bool(result.failures)
        if failed > _FEW and failed * 10 > answered:
            raise TeacherUnavailable(f"calls failed in {failed} of {answered} answers; latest: {result.failures[-1]}")
        right = False if result.finish_reason in TRUNCATED else graded(task, result.text, job.problem)
        tokenizer = relay.student.tokenizer
        assert tokenizer is not None
        trained = untold(result, tokenizer) if right else None
        ids, labels = trained if trained is not None else (None, None)
        calls = [call.received for call in result.calls]
        return {
            "right": right, "token_ids": ids, "labels": labels, "calls": calls,
            "failed_calls": len(result.failures), "teacher_read": result.usage.teacher_prompt_tokens,
            "teacher_wrote": result.usage.teacher_tokens,
        }  # fmt: skip

    file = JobFile(folder / "told.jsonl", jobs)
    overrides = {"calls": True, "student_instructions": text, **sampling}
    return sampled_rows(file, relay, row, label="told", cluster=cluster, **overrides)


def untold(result: RelayResult, tokenizer: Tokenizer) -> tuple[list[int], list[int]] | None:
    """The answer's ids and labels, each command with the number of tokens that its call brought.

    A command keeps what its tokens hold besides it, such as a space before `<`.

    Returns:
        ``None`` if the answer cannot be trained on: see :func:`answers`.
    """
    row = result.transcript.training_row()
    sources = [segment.text for segment in result.segments if segment.author is Author.COMMAND]
    received = [call.received for call in result.calls]
    usage = result.usage
    if usage.failed_calls or usage.malformed_calls or usage.refused_calls or 0 in received:
        return None
    if len(sources) != len(received):  # a trigger other than the command has opened a call
        return None
    commands = zip(sources, received, strict=True)
    ids: list[int] = []
    labels: list[int] = []
    for author, group in groupby(zip(row.authors, row.token_ids, strict=True), key=lambda pair: pair[0]):
        run = [token_id for _, token_id in group]
        if author is Author.COMMAND:
            source, n = next(commands)
            spelled = "".join(texts_of(tokenizer, [*row.prompt_ids, *ids], run))
            if source != command.write(n):
                run = tokenizer.encode(spelled.replace(source, command.write(n)))
        ids += run
        labels += [IGNORED] * len(run) if author is Author.TEACHER else run
    return ids, labels


def training_rows(
    rows: Sequence[Row], jobs: Sequence[Job], tokenizer: Tokenizer, *, enable_thinking: bool
) -> TrainingRows:
    """Rows of ``input_ids`` and ``labels`` for the answers that can be trained on, behind the prompt without
    instructions."""
    return [
        row_behind(job.problem, tokenizer, row["token_ids"], row["labels"], enable_thinking=enable_thinking)
        for row, job in zip(rows, jobs, strict=True)
        if row["token_ids"] is not None
    ]
