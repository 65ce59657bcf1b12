"""A user's own prompts as problems: JSONL, Parquet and plain text files, chat logs in OpenAI's form, or a task.

    {"question": "How many ...?", "answer": "72"}                                a column with the prompt
    {"messages": [{"role": "user", ...}, {"role": "assistant", ...}]}            a chat log, or fine-tuning data
    {"custom_id": "7", "body": {"messages": [...], "tools": [...]}}              a request of OpenAI's batch API
    How many ...?                                                                a line of a .txt file

Of a chat log, the prompt is everything up to the last message that is not the assistant's: the answer in the log is
left out, and the models answer in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relay_core.chat import Conversation
from relay_core.engines.base import Message
from relay_core.errors import ConfigurationError
from relay_core.evaluate import splits
from relay_core.evaluate.dataset_rows import SUFFIXES, Row, file_rows
from relay_core.evaluate.task import Problem, Task, names_a_class, task_from_spec, up_to

#: columns with a prompt, in the order in which they are looked for
QUESTION_COLUMNS = ("question", "prompt", "problem", "instruction", "text")
ACCEPTED = "a .jsonl, .parquet or .txt file, bundled, or MODULE:CLASS (a task)"


@dataclass(frozen=True, kw_only=True)
class LoggedProblem(Problem):
    """A problem from a file. ``tools``: the tools that its request offered, in OpenAI's format."""

    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts to answer.

    ``task``: grades the answers; ``None`` if a file holds the prompts. ``unusable``: why prompts were left out, such as
    an image in them.
    """

    problems: Sequence[Problem]
    task: Task | None = None
    unusable: Sequence[str] = ()


def read_prompts(
    source: str, *, question: str | None = None, answers: str | None = None, sample: int = 100, seed: int = 0
) -> Prompts:
    """Read prompts, and draw a random sample of them.

    Args:
        source: the path of a file, or a task, whose split ``test`` is drawn from: ``bundled``, the name of a benchmark,
            or ``MODULE:CLASS``.
        question: the column with the prompt; by default ``messages``, or the first of :data:`QUESTION_COLUMNS`.
        answers: the column with the right answers; without it, ``Problem.answer`` is ``None``.
        sample: how many prompts to draw; all of a file or task that has no more.
        seed: decides which prompts are drawn. A smaller sample is the beginning of a larger one.

    Raises:
        ConfigurationError: the file cannot be read, or a row has no prompt or no answer.
        MissingExtraError: reading the file needs a package that is not installed.
    """
    if names_a_class(source):
        task = task_from_spec(source)
        return Prompts(_with_own_ids(up_to(task, "test", sample, seed=seed)), task)
    path = Path(source).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"there is no file {source}: write {ACCEPTED}")
    problems: list[Problem] = []
    unusable: list[str] = []
    for number, row in enumerate(_rows(path, text_column=question or "question"), start=1):
        where = f"{source}, row {number}"
        problem = _problem(row, number, where, question, answers)
        try:
            Conversation.of(problem.messages, tools=problem.tools)
        except ConfigurationError as error:
            unusable.append(f"{where}: {error.message}")
        else:
            problems.append(problem)
    if not problems:
        raise ConfigurationError(unusable[0])
    drawn = splits.draw(problems, min(sample, len(problems)), seed=seed, mix=None, source=source)
    return Prompts(drawn, unusable=unusable)


def _with_own_ids(problems: Sequence[Problem]) -> list[Problem]:
    """The problems, each with an id that no other one has."""
    seen: Counter[str] = Counter()
    distinct: list[Problem] = []
    for problem in problems:
        seen[problem.id] += 1
        again = seen[problem.id] > 1
        distinct.append(replace(problem, id=f"{problem.id}#{seen[problem.id]}") if again else problem)
    return distinct


def _rows(path: Path, text_column: str) -> list[Row]:
    if path.suffix in SUFFIXES:
        return file_rows(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not text in UTF-8 ({error}): write {ACCEPTED}") from error
    rows: list[Row] = [{text_column: line.strip()} for line in lines if line.strip()]
    if not rows:
        raise ConfigurationError(f"{path} has no lines: write one prompt a line")
    return rows


def _problem(row: Row, number: int, where: str, question: str | None, answers: str | None) -> LoggedProblem:
    answer = None
    if answers is not None:
        answer = row.get(answers)
        if answer is None or answer == "":
            columns = ", ".join(row)
            raise ConfigurationError(
                f"{where}: there is no answer in the column {answers!r}; the columns are {columns}"
            )
    request = row
    for envelope in ("body", "request"):
        if isinstance(row.get(envelope), Mapping):
            request = row[envelope]
    column = question or next((name for name in ("messages", *QUESTION_COLUMNS) if request.get(name)), None)
    if column is None or not request.get(column):
        wanted = "messages or question" if question is None else question
        columns = ", ".join(row)
        raise ConfigurationError(f"{where}: there is no prompt ({wanted}); the columns are {columns}: write --question")
    value = request[column]
    is_chat = not isinstance(value, str) and isinstance(value, Sequence)
    messages = _asked(value, where) if is_chat else ({"role": "user", "content": str(value)},)
    tools = tuple(request.get("tools") or ())
    return LoggedProblem(id=str(number), messages=messages, answer=answer, tools=tools)


def _asked(messages: Sequence[Any], where: str) -> tuple[Message, ...]:
    """The messages up to the last one that is not the assistant's."""
    if not all(isinstance(message, Mapping) and "role" in message for message in messages):
        raise ConfigurationError(f"{where}: messages must be a list of objects with role and content")
    kept = [_as_role(message) for message in messages]
    while kept and kept[-1]["role"] == "assistant":
        kept.pop()
    if not kept:
        raise ConfigurationError(f"{where}: the messages are all the assistant's, so there is nothing to answer")
    return tuple(kept)


def _as_role(message: Message) -> Message:
    """The message; OpenAI's newer name of a system message, ``developer``, is replaced by ``system``."""
    return {**message, "role": "system"} if message["role"] == "developer" else dict(message)
