"""Warm-up's source `guided`: calls where the teacher objects to what the student wrote.

The student answers alone. If the answer is wrong, the teacher reads it in one forward pass. Before the first token that
it would hardly have written (more than `warmup.margin` nats below its own best) a call is opened, the teacher's words
follow, and the student goes on from there; up to `warmup.rounds` times. Answers that end right are kept. The loss falls
on the student's tokens and on the commands, whose n is the number of tokens that the teacher wrote.

Such a call may repair the style of an answer and not its result. With `warmup.prune`, each call of a right answer is
tested, from the first on: it is left out, and the rounds go on from there with calls at later places, as many as the
answer had. If the new answer is right, too, it replaces the old one: the student could write more by itself. At the end
of each call, the words that the student would have written itself become the student's (``trim.py``).

A student that is trained on such answers alone forgets how to go on where a call is refused: its second choice there
is any token. With `warmup.unaided`, some of its own first answers are trained on, too; with `warmup.unsolved`, also
those to problems that no call solved, so that it learns not to call in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from relay_core import command, portal
from relay_core.engines.base import Engine
from relay_core.engines.scores import Scorer
from relay_core.errors import ConfigurationError, ContextOverflow
from relay_core.evaluate.objections import objections, scores, scores_texts
from relay_core.evaluate.seeds import answer_seed
from relay_core.evaluate.task import Task, graded
from relay_core.events import TRUNCATED
from relay_core.settings import RelaySettings
from relay_core.train import processes
from relay_core.train.jobs import Job, JobFile, Row, concurrently
from relay_core.train.places import places, whole
from relay_core.train.replay import Draft, draft_of, go_on
from relay_core.train.sections import Warmup
from relay_core.train.steps import Steps
from relay_core.train.supervised import IGNORED
from relay_core.train.trim import trimmed
from relay_core.transcript import Author, TrainingRow

LIMIT = 64
"""How many answers a process works on at a time."""


def training_row(draft: Draft, encode: Callable[[str], list[int]]) -> dict[str, list[int]]:
    """A row of ``input_ids`` and ``labels``: loss on the student's tokens and on the commands, whose n is the number of
    tokens that the teacher wrote."""
    ids, labels = [*draft.prompt_ids], [IGNORED] * len(draft.prompt_ids)
    for own, call in draft.parts():
        written = [*own, *([] if call is None else encode(command.write(len(call.ids))))]
        words = [] if call is None else [*call.words]
        ids += written + words
        labels += written + [IGNORED] * len(words)
    return {"input_ids": ids, "labels": labels}


def check(teacher: Engine) -> None:
    """Refuse a teacher that cannot read, before anything is sampled.

    A served teacher is asked to read one token, since only its server knows whether it can.

    Raises:
        ConfigurationError: it cannot.
        EngineError: its server cannot be reached.
    """
    if not scores_texts(teacher):
        raise ConfigurationError(
            f"{_READS}, which {teacher.spec} ({type(teacher).__name__}) cannot: write a teacher in this process or a "
            "vLLM server (--teacher transformers:PATH), or --warmup told or random"
        )
    if isinstance(teacher, Scorer):
        try:
            portal.run(_try, teacher)
        except ConfigurationError as error:
            raise ConfigurationError(f"{_READS}; {error.message}; or write --warmup told or random") from error


async def _try(teacher: Engine) -> None:
    await teacher.start()
    if isinstance(teacher, Scorer) and teacher.tokenizer is not None:
        ids = teacher.tokenizer.encode("a a")
        await teacher.scores(ids[:1], ids[1:])


_READS = "warmup.source is guided: the teacher reads the student's answers and scores their tokens"


class Guide:
    """Opens calls in the student's answers.

    Args:
        student, teacher: both engines.
        task: grades the answers.
        config: the recipe's section.
        settings: the settings of an answer.
        run_seed: the recipe's seed.
    """

    def __init__(
        self, student: Engine, teacher: Engine, task: Task, config: Warmup, settings: RelaySettings, run_seed: int
    ) -> None:
        self.student, self.teacher, self.task, self.config = student, teacher, task, config
        self.settings = settings.merged({"temperature": config.temperature, "top_p": 1.0, "top_k": None})
        self.run_seed = run_seed
        self.rounds = config.rounds if settings.max_calls is None else min(config.rounds, settings.max_calls)
        self.most = min(settings.max_call_tokens or settings.max_tokens, settings.max_tokens)

    def transcripts(self, jobs: Sequence[Job], folder: Path) -> list[Row]:
        """The last answer of each job; rows with ``draft`` (:class:`Draft`), in the order of the jobs.

        Args:
            jobs: the answers.
            folder: receives ``guided.jsonl`` and, until it is complete, every answer and every reading.

        Raises:
            ConfigurationError: the folder holds answers to other problems.
            EngineError: an engine failed; everything that was sampled is kept.
        """
        file = JobFile(folder / "guided.jsonl", jobs)
        steps = Steps(folder / "guided.steps")

        async def answer(job: Job) -> Row:
            return await _Search(self, job, steps).run()

        engines = (self.student, self.teacher)
        rows = file.run(concurrently(answer, label="guided", limit=LIMIT, engines=engines))
        if processes.is_main():
            steps.remove()
        return rows


class _Search:
    """The search for a right answer to one problem.

    Its steps are sampling and reading. Each step is taken from the journal if it is there, so that the search itself
    need not know that it was interrupted.
    """

    def __init__(self, guide: Guide, job: Job, steps: Steps) -> None:
        self._guide, self._job, self._steps = guide, job, steps
        self._numbers: dict[Draft, int] = {}  # which sample each draft is
        self._count = 0
        self._written_tokens = self._ungraded = 0
        self._nats: dict[int, list[float] | None] = {}  # of each sample that was read
        self._read_tokens = 0

    async def run(self) -> Row:
        """The row of the problem: the last answer, and what it took."""
        guide = self._guide
        first = await self._sample(None, None)
        drafts = [] if first is None else [first]
        right = bool(drafts) and await self._improve(drafts, beyond=0, rounds=guide.rounds)
        last = drafts[-1] if drafts else None
        if last is not None and right and guide.config.prune:
            await self._prune(drafts)
            last = await self._trimmed(drafts[-1])
        return {
            "right": right,
            "alone": first is not None and first.right,
            "draft": None if last is None else last.as_dict(),
            "unaided": None if first is None or first.right or not first.ended else first.as_dict(),
            "samples": self._count,
            "ungraded": self._ungraded,
            "teacher_wrote": self._written_tokens,
            "teacher_read": self._read_tokens,
        }

    async def _improve(self, drafts: list[Draft], *, beyond: int, rounds: int) -> bool:
        """Open calls until an answer is right; returns whether one is.

        Args:
            drafts: number j is the answer with the first j calls; new ones are appended.
            beyond: the least number of the student's tokens before a new call.
            rounds: the most calls.
        """
        for _ in range(rounds):
            last = drafts[-1]
            if last.right:
                return True
            opening = await self._opening(last, beyond)
            draft = None if opening is None else await self._sample(last, opening)
            if draft is None:
                return False
            if len(draft.calls) == len(last.calls):  # the latest call was made longer
                drafts.pop()
            drafts.append(draft)
        return drafts[-1].right

    async def _prune(self, drafts: list[Draft]) -> None:
        """Leave out calls without which the answer ends right, too; ``drafts`` is changed in place."""
        number = 0
        while number < len(drafts[-1].calls):
            trial = drafts[: number + 1]
            left = len(drafts[-1].calls) - number
            if await self._improve(trial, beyond=drafts[-1].calls[number].at + 1, rounds=left):
                drafts[:] = trial
            else:
                number += 1

    async def _trimmed(self, draft: Draft) -> Draft:
        """The answer with shorter calls, if the student's engine scores a text (``trim.py``)."""
        guide = self._guide
        student, teacher = guide.student.tokenizer, guide.teacher.tokenizer
        assert student is not None and teacher is not None
        if not draft.calls or not scores_texts(guide.student):
            return draft

        async def read() -> list[float]:
            read = await scores(guide.student, draft.prompt_ids, whole(draft)[0])
            return [round(top - own, 4) for top, own in zip(read.top_logprobs, read.logprobs, strict=True)]

        gaps = await self._steps.step(self._job, self._numbers[draft], "gaps", read)
        return trimmed(draft, gaps, student, teacher)

    async def _opening(self, draft: Draft, beyond: int) -> tuple[int, int] | None:
        """The next call: the number of the student's tokens before it, and the tokens that it requests."""
        nats = await self._read(draft)
        if nats is None:
            return None
        guide = self._guide
        tokenizer = guide.student.tokenizer
        assert tokenizer is not None
        for place in places(draft, nats, tokenizer, margin=guide.config.margin):
            if place < beyond:
                continue
            n = guide.config.call_tokens
            if draft.calls and draft.calls[-1].at == place:
                n += len(draft.calls[-1].ids)
            if n <= guide.most:
                return place, n
        return None

    async def _sample(self, basis: Draft | None, opening: tuple[int, int] | None) -> Draft | None:
        """The answer with one more call (see :func:`go_on`); ``None`` if the call could not be made as planned, or the
        answer could not be graded."""
        number = self._count
        self._count += 1
        guide, job = self._guide, self._job

        async def sample() -> dict[str, Any]:
            seed = answer_seed(guide.run_seed, "warmup", number, job.problem.id, job.k)
            settings = guide.settings.merged({"seed": seed})
            result = await go_on(guide.student, guide.teacher, job.problem, settings, basis, opening)
            kept = 0 if basis is None or opening is None else sum(call.at < opening[0] for call in basis.calls)
            draft = draft_of(result, kept + (opening is not None))
            cut_off = draft is None or result.finish_reason in TRUNCATED
            right = False if cut_off else graded(guide.task, result.text, job.problem)
            usage = result.usage
            return {
                "draft": None if draft is None or right is None else replace(draft, right=right).as_dict(),
                "ungraded": right is None,
                "read": usage.teacher_prompt_tokens,
                "wrote": 0 if opening is None else result.calls[-1].received if result.calls else 0,
            }

        values = await self._steps.step(job, number, "answer", sample)
        self._ungraded += values["ungraded"]
        self._read_tokens += values["read"]
        self._written_tokens += values["wrote"]
        if values["draft"] is None:
            return None
        draft = Draft.from_dict(values["draft"])
        self._numbers[draft] = number
        return draft

    async def _read(self, draft: Draft) -> list[float] | None:
        """The teacher's objection to each token of the answer (:func:`whole`); ``None`` if it cannot be told."""
        number, guide = self._numbers[draft], self._guide
        if number in self._nats:
            return self._nats[number]
        student = guide.student.tokenizer
        assert student is not None
        ids, is_own = whole(draft)
        authors = tuple(Author.STUDENT if own else Author.TEACHER for own in is_own)
        row = TrainingRow(draft.prompt_ids, tuple(ids), tuple(map(int, is_own)), (None,) * len(ids), authors)

        async def read() -> list[float] | None:
            try:
                return await objections(
                    guide.teacher, self._job.problem, student, row,
                    ended=draft.ended, enable_thinking=guide.settings.enable_thinking,
                )  # fmt: skip
            except ContextOverflow:
                return None

        self._nats[number] = await self._steps.step(self._job, number, "nats", read)
        self._read_tokens += len(draft.prompt_ids) + len(ids)
        return self._nats[number]
