"""The transcript: the record of who wrote each token of an answer, and the three views of it.

    student's view   the prompt, then every id in the student's vocabulary, commands included; it only grows
    teacher's view   the messages in the teacher's chat template, then exactly the reader's text
    reader's view    the text without any command

A transcript stores one entry per token (id, text, author, log-probability), and for each entry the characters that
belong to a command. Everything else is derived. A token that contains any part of a command is a *command* token, and
the rest of its text is ordinary student text: `` <`` and ``>\\n\\n`` are single tokens in Qwen's vocabulary, so a
command may begin or end inside a token. ``decoding/reader_view.py`` turns the reader's text into ids of one model's
vocabulary.

*Student's character* i means character i of the text that the student has written: with its commands, but without the
teacher's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

LONGEST_TOKEN = 256  # characters; no known vocabulary has a longer token


def least_tokens(text: str) -> int:
    """A lower bound for the number of tokens of a text whose ids are unknown."""
    return max(1, -(-len(text) // LONGEST_TOKEN))


class Author(StrEnum):
    """Who wrote a token. ``command`` tokens were written by the student, and the reader never sees them."""

    STUDENT = "student"
    COMMAND = "command"
    TEACHER = "teacher"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens by one author.

    ``token_ids``: the sampled ids, in the vocabulary of the author's model; empty if the engine delivers only text.
    ``logprobs``: one value per id; ``None`` if the engine reports none. ``tokens``: the number of tokens, even if there
    are no ids.
    """

    author: Author
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float | None, ...] = field(default=(), repr=False)
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One answer in the student's vocabulary. All fields but ``prompt_ids`` have the same length.

    ``mask`` is 1 exactly on the tokens that the student sampled, commands included.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    mask: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    authors: tuple[Author, ...]


class Transcript:
    """The prompt and the answer so far.

    Args:
        prompt_text: the student's prompt as text.
        prompt_ids: the prompt as ids of the student's vocabulary; empty for a student without ids.
        prefix: text with which the answer must begin; it is part of the prompt, not of the answer.
    """

    __slots__ = (
        "_authors",
        "_call_count",
        "_call_numbers",
        "_command_count",
        "_counts",
        "_foreign",
        "_hidden",
        "_ids",
        "_logprobs",
        "_offset",
        "_starts",
        "_texts",
        "_total",
        "prefix",
        "prompt_ids",
        "prompt_text",
        "student_ids",
    )

    def __init__(self, prompt_text: str = "", prompt_ids: Sequence[int] = (), prefix: str = "") -> None:
        self.prompt_text = prompt_text
        self.prompt_ids: tuple[int, ...] = tuple(prompt_ids)
        self.prefix = prefix
        #: the answer in the student's vocabulary, commands included; only ever appended to
        self.student_ids: list[int] = []
        self._ids: list[int | None] = []
        self._texts: list[str] = []
        self._authors: list[Author] = []
        self._logprobs: list[float | None] = []
        self._counts: list[int] = []
        self._call_numbers: list[int] = []  # per entry: the calls begun so far; tokens of a call share their number
        self._call_count = 0
        self._command_count = self._total = 0
        self._hidden: dict[int, list[tuple[int, int, int]]] = {}  # entry -> [(start, end, command number)] in its text
        self._foreign: dict[int, list[int]] = {}  # call number -> its text as ids of the student's vocabulary
        self._starts: list[int] = []  # per entry: the student's character at which its text begins
        self._offset = 0

    # -- writing -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._ids)

    def add_student(self, token_id: int | None, text: str, logprob: float | None = None) -> None:
        """Append a token that the student sampled."""
        self._append(token_id, text, logprob, Author.STUDENT)
        if token_id is not None:
            self.student_ids.append(token_id)

    def add_teacher(self, token_id: int | None, text: str, logprob: float | None = None) -> None:
        """Append a token that the teacher sampled, in the teacher's vocabulary; see :meth:`end_call`."""
        self._append(token_id, text, logprob, Author.TEACHER)

    def _append(self, token_id: int | None, text: str, logprob: float | None, author: Author) -> None:
        self._ids.append(token_id)
        self._texts.append(text)
        self._logprobs.append(logprob)
        self._authors.append(author)
        self._counts.append(1 if token_id is not None else least_tokens(text))
        self._total += self._counts[-1]
        self._call_numbers.append(self._call_count)
        self._starts.append(self._offset)
        if author is Author.STUDENT:
            self._offset += len(text)

    def begin_call(self) -> None:
        """Begin a new call: teacher tokens added from now on belong to it."""
        self._call_count += 1

    def end_call(
        self,
        *,
        shared: bool,
        encode: Callable[[str], list[int]] | None,
        has_ids: Callable[[Sequence[int]], bool] = lambda ids: True,
    ) -> None:
        """End the call: add the teacher's words to the student's view.

        Args:
            shared: whether both models have the same vocabulary; the teacher's ids are then added unchanged.
            encode: encodes the teacher's words for the student. It is used if the vocabularies differ, or if an id is
                missing or outside the vocabulary. ``None`` for a student without ids.
            has_ids: returns whether all given ids are in the shared vocabulary. A model can sample ids outside its
                vocabulary, since its embedding is padded; another model's embedding may lack these ids.
        """
        entries = [
            i
            for i, number in enumerate(self._call_numbers)
            if number == self._call_count and self._authors[i] is Author.TEACHER
        ]
        ids = [token_id for i in entries if (token_id := self._ids[i]) is not None]
        if not shared or len(ids) < len(entries) or not has_ids(ids):
            text = "".join(self._texts[i] for i in entries)
            ids = self._foreign[self._call_count] = encode(text) if encode is not None and text else []
        self.student_ids.extend(ids)

    @property
    def student_offset(self) -> int:
        """The number of characters that the student has written, commands included."""
        return self._offset

    def mark_command(self, start: int, end: int) -> None:
        """Mark the student's characters ``start`` to ``end`` as a command, hidden from the reader."""
        self._command_count += 1
        for i in range(len(self._ids) - 1, -1, -1):
            if self._authors[i] is Author.TEACHER:
                continue
            low, high = self._starts[i], self._starts[i] + len(self._texts[i])
            if high <= start and len(self._texts[i]):
                break
            a, b = max(start, low), min(end, high)
            if a < b or start < low == high < end:  # part of the command, or a token without text inside the command
                self._hidden.setdefault(i, []).append((a - low, b - low, self._command_count))
                self._authors[i] = Author.COMMAND

    def drop_tail(self, chars: int) -> None:
        """Remove the last ``chars`` characters, which a text-only engine wrote after a command, from the last entry."""
        if chars:
            self._texts[-1] = self._texts[-1][:-chars]
            self._total += least_tokens(self._texts[-1]) - self._counts[-1]
            self._counts[-1] = least_tokens(self._texts[-1])
            self._offset -= chars

    def settle(self, first: int, tokens: int, dropped: int = 0) -> int:
        """Spread the number of tokens that an engine reports over the text-only entries from ``first`` on.

        If ``tokens`` is too small for the text, the sum of :func:`least_tokens` over these entries is used instead.

        Returns how many of ``tokens`` belong to the ``dropped`` characters behind these entries (:meth:`drop_tail`).
        """
        if any(token_id is not None for token_id in self._ids[first:]):
            return 0
        chars = [len(t) for t in self._texts[first:]]
        total, done, so_far = sum(chars), 0, 0
        if not total:
            return 0
        behind = tokens * dropped // (total + dropped)
        tokens -= behind
        tokens = max(tokens, sum(least_tokens(text) for text in self._texts[first:] if text))
        for i, n in enumerate(chars):
            so_far += n
            share = round(tokens * so_far / total)
            self._total += share - done - self._counts[first + i]
            self._counts[first + i] = share - done
            done = share
        return behind

    def cut_reader_text(self, length: int) -> None:
        """Cut the reader's text to its first ``length`` characters, because of a stop string. No id is removed."""
        excess = len(self.reader_text) - length
        for i in range(len(self._ids) - 1, -1, -1):
            if excess <= 0:
                break
            for a, b in reversed(self._visible_spans(i)):
                take = min(excess, b - a)
                excess -= take
                if take:
                    self._texts[i] = self._texts[i][: b - take] + self._texts[i][b:]
                    self._hidden_shift(i, b, take)

    def _hidden_shift(self, i: int, at: int, by: int) -> None:
        """Move the commands of entry ``i`` that begin at or after character ``at`` to the left by ``by`` characters."""
        if i in self._hidden:
            self._hidden[i] = [(a - by, b - by, c) if a >= at else (a, b, c) for a, b, c in self._hidden[i]]

    # -- reading -------------------------------------------------------------------------------------------

    def _visible_spans(self, i: int) -> list[tuple[int, int]]:
        """The parts of entry ``i``'s text that do not belong to a command, as (start, end)."""
        spans, at = [], 0
        for a, b, _ in self._hidden.get(i, ()):
            if a > at:
                spans.append((at, a))
            at = b
        if at < len(self._texts[i]):
            spans.append((at, len(self._texts[i])))
        return spans

    def _rest(self, i: int, chars: int | None = None) -> str:
        """The visible text of entry ``i``; with ``chars``, only that of the entry's first ``chars`` characters."""
        text = self._texts[i][:chars]
        return "".join(text[a:b] for a, b in self._visible_spans(i))

    def _locate(self, end: int) -> tuple[int, int]:
        """The entry that holds the student's character ``end``, and the number of the entry's characters before it.

        The character must lie in the student's latest turn.
        """
        i = len(self._ids)
        while i and self._authors[i - 1] is not Author.TEACHER and self._starts[i - 1] + len(self._texts[i - 1]) > end:
            i -= 1
        return i, (max(0, end - self._starts[i]) if i < len(self._ids) else 0)

    def visible(self, start: int = 0, end: int | None = None) -> Iterator[int | str]:
        """The reader's text from entry ``start`` on, piece by piece.

        A token that contains no part of a command is yielded as its id. A token without an id, and the visible rest of
        a command token, are yielded as text.

        Args:
            end: stop before the student's character ``end``, which must lie in the student's latest turn.
        """
        stop, chars = (len(self._ids), 0) if end is None else self._locate(end)
        for i in range(start, stop):
            token_id = self._ids[i]
            if i not in self._hidden and token_id is not None:
                yield token_id
            elif rest := self._rest(i):
                yield rest
        if chars and start <= stop and (rest := self._rest(stop, chars)):
            yield rest

    def visible_text(self, start: int = 0, end: int | None = None) -> str:
        """The reader's text from entry ``start`` on; ``end`` as for :meth:`visible`."""
        stop, chars = (len(self._ids), 0) if end is None else self._locate(end)
        if not self._hidden:
            text = "".join(self._texts[start:stop])
        else:
            text = "".join(self._texts[i] if i not in self._hidden else self._rest(i) for i in range(start, stop))
        return text + self._rest(stop, chars) if chars and start <= stop else text

    @property
    def reader_text(self) -> str:
        """The text that the reader sees."""
        return self.visible_text()

    @property
    def student_text(self) -> str:
        """The answer as the student sees it, commands included."""
        return "".join(self._texts)

    @property
    def segments(self) -> list[Segment]:
        """The answer as segments. Each command and each call has its own segment."""
        runs: list[_Run] = []

        def run(author: Author, number: int) -> _Run:
            """The last run if it has this author and number, otherwise a new run."""
            if not runs or (runs[-1].author, runs[-1].number) != (author, number):
                runs.append(_Run(author, number))
            return runs[-1]

        for i, author in enumerate(self._authors):
            if author is Author.TEACHER:
                run(author, self._call_numbers[i]).add(self, i, self._texts[i])
            elif author is Author.STUDENT:
                run(author, 0).add(self, i, self._texts[i])
            else:
                at, is_counted = 0, False  # a token that belongs to two commands is counted in the first command
                for a, b, command in self._hidden[i]:
                    if a > at:
                        run(Author.STUDENT, 0).text.append(self._texts[i][at:a])
                    target = run(Author.COMMAND, command)
                    if is_counted:
                        target.text.append(self._texts[i][a:b])
                    else:
                        target.add(self, i, self._texts[i][a:b])
                    is_counted, at = True, b
                if at < len(self._texts[i]):
                    run(Author.STUDENT, 0).text.append(self._texts[i][at:])
        return [r.segment() for r in runs]

    def is_command(self, index: int) -> bool:
        """Whether entry ``index`` carries any part of a command."""
        return index in self._hidden

    @property
    def total(self) -> int:
        """The number of tokens in the answer so far, by both models."""
        return self._total

    def count(self, author: Author) -> int:
        """The number of tokens by this author, in the vocabulary of the author's model."""
        return sum(n for n, a in zip(self._counts, self._authors, strict=True) if a is author)

    def training_row(self) -> TrainingRow:
        """The answer for the trainer, with the ids that were sampled.

        Only the words of a teacher with another vocabulary are encoded again, once, when their call ends.
        """
        ids: list[int] = []
        authors: list[Author] = []
        logprobs: list[float | None] = []
        seen: set[int] = set()
        for i, token_id in enumerate(self._ids):
            author, call = self._authors[i], self._call_numbers[i]
            if author is Author.TEACHER and call in self._foreign:
                if call not in seen:
                    seen.add(call)
                    ids += self._foreign[call]
                    authors += [author] * len(self._foreign[call])
                    logprobs += [None] * len(self._foreign[call])
            elif token_id is not None:
                ids.append(token_id)
                authors.append(author)
                logprobs.append(self._logprobs[i])
        mask = tuple(int(a is not Author.TEACHER) for a in authors)
        return TrainingRow(self.prompt_ids, tuple(ids), mask, tuple(logprobs), tuple(authors))


class _Run:
    """A segment under construction."""

    __slots__ = ("author", "ids", "logprobs", "number", "text", "tokens")

    def __init__(self, author: Author, number: int) -> None:
        self.author, self.number = author, number
        self.text: list[str] = []
        self.ids: list[int] = []
        self.logprobs: list[float | None] = []
        self.tokens = 0

    def add(self, transcript: Transcript, i: int, text: str) -> None:
        self.text.append(text)
        self.tokens += transcript._counts[i]
        token_id = transcript._ids[i]
        if token_id is not None:
            self.ids.append(token_id)
            self.logprobs.append(transcript._logprobs[i])

    def segment(self) -> Segment:
        return Segment(self.author, "".join(self.text), tuple(self.ids), tuple(self.logprobs), self.tokens)
