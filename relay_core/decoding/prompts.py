"""The student's and the teacher's prompt at any moment of an answer.

student    the messages in the student's chat template, with the instructions that only the student reads, then the
           student's whole view: its text, its commands and the teacher's words
teacher    the messages in the teacher's chat template, then exactly the reader's text so far, without any command
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from relay_core.chat import (
    Conversation,
    Rendered,
    encode_text,
    encode_text_async,
    guard_text,
    render_async,
    renders_alike,
)
from relay_core.decoding.reader_view import ReaderView
from relay_core.engines.base import Engine, Prompt
from relay_core.tokenizer import Tokenizer
from relay_core.transcript import Transcript


class Prompts:
    """The prompts of one answer. This class also creates ``transcript``, which begins with the student's rendered
    prompt.

    Args:
        student: a started engine, so that its tokenizer is known.
        teacher: an engine that must be started before :meth:`teacher` is called; ``None`` if there is no teacher.
        conversation: the messages, tools and prefix from which both prompts are made.
        instructed: the conversation as the student reads it, with its instructions.
        rendered: ``instructed`` in the student's template; ``None`` for a student without a tokenizer.
        prefix_ids: the conversation's prefix in the student's vocabulary.
    """

    def __init__(
        self,
        student: Engine,
        teacher: Engine | None,
        conversation: Conversation,
        instructed: Conversation,
        rendered: Rendered | None,
        prefix_ids: list[int],
    ) -> None:
        self._student, self._teacher = student, teacher
        self._conversation, self._instructed = conversation, instructed
        self._student_rendered = rendered
        self._teacher_rendered: Rendered | None = None
        self._teacher_view: ReaderView | None = None
        prefix = conversation.prefix
        if rendered is None:
            self.transcript = Transcript(prefix=prefix)
        else:
            self.transcript = Transcript(rendered.text + prefix, rendered.token_ids + prefix_ids, prefix)

    @classmethod
    async def render(
        cls, student: Engine, teacher: Engine | None, conversation: Conversation, instructions: str | None = None
    ) -> Prompts:
        """Render the student's prompt without blocking the event loop; the other arguments are those of the class.

        Args:
            instructions: a text that is added to the student's system message only.

        Raises:
            ConfigurationError: the student's chat template cannot render the conversation.
        """
        instructed = conversation.instructed(instructions) if instructions else conversation
        tokenizer = student.tokenizer
        if tokenizer is None:
            return cls(student, teacher, conversation, instructed, None, [])
        rendered = await render_async(tokenizer, instructed)
        prefix_ids = await encode_text_async(tokenizer, conversation.prefix) if conversation.prefix else []
        return cls(student, teacher, conversation, instructed, rendered, prefix_ids)

    @property
    def prefix(self) -> str:
        """The text with which the answer must begin; it is not part of the transcript's text."""
        return self._conversation.prefix

    @property
    def _student_vocabulary(self) -> Tokenizer | None:
        """The student's tokenizer; ``None`` if the student's engine does not take and deliver token ids."""
        return self._student.tokenizer if self._student.speaks_ids else None

    @property
    def vocabulary_is_shared(self) -> bool:
        """Whether student and teacher have the same vocabulary, so that each can read the other's ids unchanged."""
        vocabulary = self._student_vocabulary
        return (
            vocabulary is not None
            and self._teacher is not None
            and vocabulary.shares_vocabulary(self._teacher.tokenizer)
        )

    @property
    def encode_for_student(self) -> Callable[[str], list[int]] | None:
        """Encodes the teacher's words in the student's vocabulary; ``None`` for a student without ids."""
        vocabulary = self._student_vocabulary
        return None if vocabulary is None else partial(encode_text, vocabulary)

    def student_has_ids(self, ids: Sequence[int]) -> bool:
        """Whether all of ``ids`` are in the student's vocabulary."""
        vocabulary = self._student_vocabulary
        return vocabulary is not None and vocabulary.has_ids(ids)

    def student_ends_in_character(self, ids: Sequence[int]) -> bool:
        """Whether ``ids`` of the student's vocabulary end in the middle of a character."""
        vocabulary = self._student_vocabulary
        return vocabulary is not None and vocabulary.ends_in_character(ids)

    @property
    def notes(self) -> dict[str, str]:
        """What the chat templates could not show unchanged, under ``student_template`` and ``teacher_template``."""
        rendered = {"student": self._student_rendered, "teacher": self._teacher_rendered}
        return {f"{role}_template": "; ".join(r.remarks) for role, r in rendered.items() if r is not None and r.remarks}

    def student(self, turn: int) -> Prompt:
        """The student's prompt for its turn number ``turn`` (from 0)."""
        transcript = self.transcript
        written = transcript.student_text
        ids = None if self._student_vocabulary is None else [*transcript.prompt_ids, *transcript.student_ids]
        rendered, continuation = self._student_rendered, self._conversation.prefix + written
        if rendered is None or self._student.tokenizer is None:
            return self._prompt(self._instructed, transcript.prompt_text + written, ids, continuation, turn)
        text = rendered.guarded_text + guard_text(self._student.tokenizer, continuation)
        return self._prompt(self._instructed, text, ids, continuation, turn)

    async def teacher(self, call: int, before: int | None = None) -> Prompt:
        """The teacher's prompt for call number ``call`` (from 0).

        Args:
            before: the student's character from which the student's text is left out. A request that is begun early
                passes the beginning of the unfinished command.
        """
        assert self._teacher is not None
        tokenizer = self._teacher.tokenizer
        text = self._conversation.prefix + self.transcript.visible_text(end=before)
        if tokenizer is None:  # the server renders the messages, so their rendered text is unknown here
            return self._prompt(self._conversation, "", None, text, call)
        rendered, view = await self._teacher_parts(tokenizer)
        answer_ids = view.update(self.transcript) if before is None else view.foresee(self.transcript, before)
        prompt_text = rendered.guarded_text + guard_text(tokenizer, text)
        return self._prompt(self._conversation, prompt_text, rendered.token_ids + answer_ids, text, call)

    async def _teacher_parts(self, tokenizer: Tokenizer) -> tuple[Rendered, ReaderView]:
        """The messages in the teacher's chat template, and the reader's text in its vocabulary; created once."""
        if self._teacher_rendered is None or self._teacher_view is None:
            student_tokenizer = self._student.tokenizer
            if (
                self._student_rendered is not None
                and self._instructed is self._conversation
                and student_tokenizer is not None
                and renders_alike(student_tokenizer, tokenizer)
            ):
                self._teacher_rendered = self._student_rendered
            else:
                self._teacher_rendered = await render_async(tokenizer, self._conversation)
            self._teacher_view = ReaderView(
                partial(encode_text, tokenizer),
                tokenizer.spells if self.vocabulary_is_shared else None,
                self._conversation.prefix,
            )
        return self._teacher_rendered, self._teacher_view

    @staticmethod
    def _prompt(
        conversation: Conversation, text: str, token_ids: Sequence[int] | None, continuation: str, number: int
    ) -> Prompt:
        """The prompt of one request; ``number`` counts the answer's requests to the engine, from 0."""
        return Prompt(
            text, token_ids, conversation.messages, continuation, conversation.tools or None, number,
            enable_thinking=conversation.enable_thinking,
        )  # fmt: skip
