"""Warm-up's source `answers`: calls in the teacher's own answers, where the student is not sure how they go on.

The teacher answers each problem alone, as for distillation. The student reads each right answer in one forward pass. A
call opens before a token to which the student gives a probability below `warmup.below`, and ends where the student is
sure again, after at least `warmup.fewest` tokens: it cannot know how long a result will be that it does not know. A
call never splits a number or a character. The loss falls on all but the words of the calls, and on the commands, whose
n is the number of the teacher's tokens. So the student learns in one go to answer as its teacher does, and to call for
what it does not know.

Nothing is searched: the teacher writes each answer once, and reads the question only. The answers are not the student's
own, however, as they are in `guided`.

A student that is not sure of the style would call for every other phrase. Either it learns the style before
(``distill.py``), or `warmup.matching` says which tokens may open a call: with a pattern for digits, only those of a
number. What else the student is not sure of, it then learns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from relay_core.chat import Conversation, encode_text_async, render_async
from relay_core.engines.base import Engine
from relay_core.evaluate.objections import asked, scores, texts_of
from relay_core.evaluate.task import Task
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.tokenizer import Tokenizer
from relay_core.train import teacher_answers
from relay_core.train.jobs import Job, JobFile, Row, concurrently
from relay_core.train.places import can_open
from relay_core.train.replay import Draft, Opened
from relay_core.train.sections import Warmup

LIMIT = 64
"""How many answers the student reads at a time."""


def transcripts(
    student: Engine,
    teacher: Engine,
    task: Task,
    jobs: Sequence[Job],
    folder: Path,
    config: Warmup,
    settings: RelaySettings,
) -> tuple[list[Row], list[Draft]]:
    """The teacher's answers (:func:`teacher_answers.answered`), and the right ones of them with their calls.

    An answer with more or longer calls than ``settings`` allow is left out.

    Args:
        student, teacher: both engines; the student's scores a text.
        task: grades the answers.
        jobs: one answer to each problem.
        folder: receives ``answers.jsonl`` and ``read.jsonl``; what is there is neither sampled nor read again.
        config: the recipe's section.
        settings: the settings of an answer.

    Raises:
        ConfigurationError: the teacher answered no problem right, or the folder holds answers to other problems.
        EngineError: an engine failed; all earlier answers are kept.
    """
    alone = Relay(teacher, None, settings)
    answers = teacher_answers.answered(
        alone, task, jobs, folder / "answers.jsonl", temperature=config.temperature, label="answers"
    )
    right = [(job, str(row["text"])) for job, row in zip(jobs, answers, strict=True) if row["right"]]
    readings = _readings(student, right, folder / "read.jsonl", settings)
    assert student.tokenizer is not None and teacher.tokenizer is not None
    drafts = [with_calls(reading, student.tokenizer, teacher.tokenizer, config) for reading in readings]
    return answers, [draft for draft in drafts if _allowed(draft, settings)]


def _readings(student: Engine, answers: Sequence[tuple[Job, str]], path: Path, settings: RelaySettings) -> list[Row]:
    """Each answer's text, the ids of the prompt and of the text in the student's vocabulary, and the log-probabilities
    of the latter."""
    texts = {(job.i, job.k): text for job, text in answers}
    thinking = settings.enable_thinking

    async def read(job: Job) -> Row:
        tokenizer = student.tokenizer
        assert tokenizer is not None
        messages, tools = asked(job.problem)
        conversation = Conversation.of(messages, tools=tools, enable_thinking=thinking)
        prompt_ids = (await render_async(tokenizer, conversation)).token_ids
        text = texts[job.i, job.k]
        ids = await encode_text_async(tokenizer, text)
        logprobs = (await scores(student, prompt_ids, ids)).logprobs
        rounded = [round(max(-100.0, logprob), 4) for logprob in logprobs]
        return {"text": text, "prompt_ids": [*prompt_ids], "ids": [*ids], "logprobs": rounded}

    file = JobFile(path, [job for job, _ in answers])
    return file.run(concurrently(read, label="read", limit=LIMIT, done=len(file.known), engines=[student]))


def with_calls(reading: Row, student: Tokenizer, teacher: Tokenizer, config: Warmup) -> Draft:
    """An answer of the teacher as a draft of the student's, with a call wherever the student is not sure.

    Args:
        reading: ``text``, ``prompt_ids``, ``ids`` and ``logprobs``, which the student gives the ids.
        student, teacher: the tokenizers.
        config: ``below``, ``matching`` and ``fewest``.
    """
    prompt_ids, ids = tuple(reading["prompt_ids"]), reading["ids"]
    texts = texts_of(student, prompt_ids, ids)
    pattern = re.compile(config.matching or "")
    opens = [
        math.exp(logprob) < config.below and pattern.search(text) is not None
        for logprob, text in zip(reading["logprobs"], texts, strict=True)
    ]
    own: list[int] = []
    calls: list[Opened] = []
    end = 0
    for begin, next_end in spans(opens, ids, texts, student, fewest=config.fewest):
        own += ids[end:begin]
        end = next_end
        words = ids[begin:end]
        calls.append(Opened(len(own), tuple(teacher.encode("".join(texts[begin:end]))), tuple(words)))
    own += ids[end:]
    eos = student.hf.eos_token_id
    own += [] if eos is None else [int(eos)]
    return Draft(prompt_ids, tuple(own), tuple(calls), str(reading["text"]), ended=eos is not None, right=True)


def spans(
    opens: Sequence[bool], ids: Sequence[int], texts: Sequence[str], tokenizer: Tokenizer, *, fewest: int = 1
) -> Iterator[tuple[int, int]]:
    """The places at which each call begins and ends; there is at least one token between two calls.

    Args:
        opens: for each token, whether a call is needed for it.
        ids, texts: the tokens, and what each adds to the text.
        tokenizer: the student's.
        fewest: the fewest tokens of a call, unless the text ends before.
    """
    last: tuple[int, int] | None = None
    place = 0
    while place < len(ids):
        if not opens[place]:
            place += 1
            continue
        least = 0 if last is None else last[1]
        begin, end = place, place + 1
        while begin > least and not can_open(begin, ids, texts, tokenizer):
            begin -= 1
        while end < len(ids) and (end < begin + fewest or opens[end] or not can_open(end, ids, texts, tokenizer)):
            end += 1
        if last is not None and begin == last[1]:  # no token of the student is between the two
            begin = last[0]
        elif last is not None:
            yield last
        last = begin, end
        place = end
    if last is not None:
        yield last


def _allowed(draft: Draft, settings: RelaySettings) -> bool:
    longest = max((len(call.ids) for call in draft.calls), default=0)
    most = settings.max_calls
    return longest <= (settings.max_call_tokens or settings.max_tokens) and (most is None or len(draft.calls) <= most)


def report(answers: Sequence[Row]) -> dict[str, Any]:
    """What the teacher's answers took, for ``rows.json``."""
    return {
        "right": sum(row["right"] is True for row in answers),
        "ungraded": sum(row["right"] is None for row in answers),
        "teacher_wrote": sum(row["tokens"] for row in answers),
        "teacher_read": sum(row["read"] for row in answers),
    }
