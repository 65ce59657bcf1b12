"""The student's and the teacher's prompt at any moment of an answer.

student    its own template around the messages, then everything in its view: its commands, the teacher's words
teacher    its own template around the messages, then exactly the reader's text so far; no trace of a command
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from relay_core.chat import Conversation, Rendered, encode_text, render, renders_alike
from relay_core.decoding.reader_view import ReaderView
from relay_core.engines.base import Engine, Prompt
from relay_core.transcript import Transcript


class Prompts:
    """The prompts of one answer; ``transcript`` begins here, with the student's rendered prompt.

    Args:
        student: a started engine, so that its tokenizer is known.
        teacher: an engine that is started before :meth:`teacher` is called; ``None`` where no call can come.
        conversation: what both are asked.
    """

    def __init__(self, student: Engine, teacher: Engine | None, conversation: Conversation) -> None:
        self._student, self._teacher, self._conversation = student, teacher, conversation
        self._rendered: Rendered | None = None
        self._teacher_rendered: Rendered | None = None
        self._teacher_view: ReaderView | None = None
        prefix, tokenizer = conversation.prefix, student.tokenizer
        if tokenizer is None:
            self.transcript = Transcript(prefix=prefix)
        else:
            self._rendered = render(tokenizer, conversation)
            ids = self._rendered.token_ids + (encode_text(tokenizer, prefix) if prefix else [])
            self.transcript = Transcript(self._rendered.text + prefix, ids, prefix)

    @property
    def vocabulary_is_shared(self) -> bool:
        """Whether ids travel between student and teacher untouched."""
        tokenizer = self._student.tokenizer if self._student.speaks_ids else None
        return (
            tokenizer is not None and self._teacher is not None and tokenizer.shares_vocabulary(self._teacher.tokenizer)
        )

    @property
    def encode_for_student(self) -> Callable[[str], list[int]] | None:
        """The student's tokenizer, for the teacher's words; ``None`` for a student without ids."""
        tokenizer = self._student.tokenizer if self._student.speaks_ids else None
        return None if tokenizer is None else partial(encode_text, tokenizer)

    def student(self, turn: int) -> Prompt:
        """The student's prompt for its turn number ``turn`` (from 0)."""
        transcript = self.transcript
        written = transcript.student_text
        has_ids = self._student.tokenizer is not None and self._student.speaks_ids
        ids = [*transcript.prompt_ids, *transcript.student_ids] if has_ids else None
        return self._prompt(transcript.prompt_text + written, ids, self._conversation.prefix + written, turn)

    def teacher(self, call: int, before: int | None = None) -> Prompt:
        """The teacher's prompt for call number ``call`` (from 0).

        Args:
            before: take the transcript only up to this character of the student's own stream, where a command is
                open that may yet turn out to be one.
        """
        assert self._teacher is not None
        tokenizer = self._teacher.tokenizer
        text = self._conversation.prefix + self.transcript.visible_text(end=before)
        if tokenizer is None:
            return self._prompt("", None, text, call)
        rendered, view = self._teacher_side()
        answer_ids = view.update(self.transcript) if before is None else view.foresee(self.transcript, before)
        return self._prompt(rendered.text + text, rendered.token_ids + answer_ids, text, call)

    def _teacher_side(self) -> tuple[Rendered, ReaderView]:
        """The teacher's rendered messages and its view of the reader's text; made once."""
        if self._teacher_rendered is None or self._teacher_view is None:
            assert self._teacher is not None and self._teacher.tokenizer is not None
            tokenizer, students = self._teacher.tokenizer, self._student.tokenizer
            same = self._rendered is not None and students is not None and renders_alike(students, tokenizer)
            self._teacher_rendered = self._rendered if same else render(tokenizer, self._conversation)
            assert self._teacher_rendered is not None
            self._teacher_view = ReaderView(
                partial(encode_text, tokenizer),
                tokenizer.spells if self.vocabulary_is_shared else None,
                self._conversation.prefix,
            )
        return self._teacher_rendered, self._teacher_view

    def _prompt(self, text: str, token_ids: Sequence[int] | None, continuation: str, turn: int) -> Prompt:
        tools = self._conversation.tools or None
        return Prompt(text, token_ids, self._conversation.messages, continuation, tools, turn)
