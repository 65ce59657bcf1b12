"""The published loop, for comparison: rounds of blocking batch requests that exchange text.

In each round the loop sends every unfinished answer of a batch to the student at once. The student writes up to its
next command or its end. When the slowest request is back, the loop sends all answers with a command to the teacher at
once; when the slowest of these is back, the next round begins. Every request holds the whole text so far, which the
server encodes anew (faults 1 and 2 of the published code, docs/method.md).

This loop does not have fault 3, which changes the answers: no space replaces a command, and the teacher's prompt is not
stripped. Decoding is greedy. Both loops therefore give the same answers, and only their speed differs.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from benchmarks.scheduled_calls import Schedule
from relay_core import command
from relay_core.chat import Conversation, render
from relay_core.engines.base import Message
from relay_core.tokenizer import Tokenizer

_CALL_AT_END = re.compile(r"<call>\s*([0-9]{1,9})\s*</call>$")
_GREEDY = {"temperature": 0, "top_p": 1, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass(frozen=True)
class ModelServer:
    """A model behind a URL that ends in ``/v1``, and the tokenizer that renders its chat template."""

    url: str
    model: str
    tokenizer: Tokenizer


@dataclass
class LockstepAnswer:
    """One answer; the loop fills in everything but the first two fields.

    Args:
        messages: the prompt.
        max_tokens: tokens of the answer at most.
        student_prompt: the prompt in the student's chat template.
        teacher_prompt: the prompt in the teacher's chat template.
        student_view: everything written so far, commands included.
        text: what the reader sees of it.
        student_tokens: tokens that the student wrote, commands included.
        teacher_tokens: tokens that the teacher wrote.
        turns: requests to the student.
        call_tokens: teacher tokens of the call that comes next; 0 without one.
        began_at: when the answer began, as all times in seconds of ``time.perf_counter``.
        called_at: when the student's latest request came back.
        first_s: seconds until the first round was over.
        seconds: seconds until the latest round was over.
        done: whether the answer is complete.
        handovers_s: for each call, seconds from the student's answer until the student is asked again.
    """

    messages: Sequence[Message]
    max_tokens: int
    student_prompt: str = ""
    teacher_prompt: str = ""
    student_view: str = ""
    text: str = ""
    student_tokens: int = 0
    teacher_tokens: int = 0
    turns: int = 0
    call_tokens: int = 0
    began_at: float = 0.0
    called_at: float = 0.0
    first_s: float = 0.0
    seconds: float = 0.0
    done: bool = False
    handovers_s: list[float] = field(default_factory=list)

    @property
    def tokens_left(self) -> int:
        """Tokens that may still be written."""
        return self.max_tokens - self.student_tokens - self.teacher_tokens


class Lockstep:
    """The loop.

    Args:
        student: the student's server.
        teacher: the teacher's server.
        schedule: where a student with random weights calls; ``None`` for a student that writes commands by itself.
    """

    def __init__(self, student: ModelServer, teacher: ModelServer, schedule: Schedule | None = None) -> None:
        self.student, self.teacher, self.schedule = student, teacher, schedule
        # vLLM's server closes idle connections after 5 s; the client drops them before that.
        limits = httpx.Limits(max_connections=10_000, max_keepalive_connections=512, keepalive_expiry=2)
        self.client = HttpxAiohttpClient(timeout=600, limits=limits, trust_env=False)

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self.client.aclose()

    async def complete_batch(self, batch: Sequence[LockstepAnswer]) -> None:
        """Fill in the answers of one batch, round by round."""
        for answer in batch:
            answer.began_at = time.perf_counter()
            conversation = Conversation.of(list(answer.messages))
            answer.student_prompt = render(self.student.tokenizer, conversation).text
            answer.teacher_prompt = render(self.teacher.tokenizer, conversation).text
        while active := [answer for answer in batch if not answer.done]:
            await asyncio.gather(*map(self.ask_student, active))
            now = time.perf_counter()
            for answer in active:
                answer.first_s = answer.first_s or now - answer.began_at
                answer.seconds = now - answer.began_at
            callers = [answer for answer in active if answer.call_tokens and not answer.done]
            await asyncio.gather(*map(self.ask_teacher, callers))
            now = time.perf_counter()
            for answer in callers:
                answer.handovers_s.append(now - answer.called_at)
                answer.seconds = now - answer.began_at
                answer.call_tokens, answer.done = 0, answer.tokens_left <= 0

    async def ask_student(self, answer: LockstepAnswer) -> None:
        """One turn of the student, and the call that it ends with, if any."""
        prompt = answer.student_prompt + answer.student_view
        choice, tokens = await self._complete(self.student, prompt, **self._student_options(answer))
        answer.called_at = time.perf_counter()
        text = str(choice["text"]) if self.schedule is None else self._with_command(answer, choice, self.schedule)
        answer.turns += 1
        answer.student_tokens += tokens
        call = _CALL_AT_END.search(text)
        has_stopped = choice.get("stop_reason") == command.CLOSE or call is not None
        answer.call_tokens = min(int(call[1]), answer.tokens_left) if call else 0
        answer.student_view += text
        answer.text += text[: call.start()] if call else text
        answer.done = not has_stopped or answer.tokens_left <= 0

    async def ask_teacher(self, answer: LockstepAnswer) -> None:
        """The teacher's tokens of the answer's call."""
        prompt = answer.teacher_prompt + answer.text
        choice, tokens = await self._complete(self.teacher, prompt, max_tokens=answer.call_tokens)
        answer.teacher_tokens += tokens - (choice["finish_reason"] == "stop")  # without the teacher's end token
        answer.student_view += choice["text"]
        answer.text += choice["text"]

    def _student_options(self, answer: LockstepAnswer) -> dict[str, Any]:
        """The options of the student's next request."""
        if self.schedule is None:
            return {"max_tokens": answer.tokens_left, "stop": [command.CLOSE], "include_stop_str_in_output": True}
        after, n = self.schedule(answer.messages, answer.turns)
        turn_length = after + len(self.student.tokenizer.encode(command.write(n)))
        return {"max_tokens": min(turn_length, answer.tokens_left), "return_token_ids": True}

    def _with_command(self, answer: LockstepAnswer, choice: Mapping[str, Any], schedule: Schedule) -> str:
        """The student's text, its last tokens replaced by the scheduled command if the turn is long enough."""
        after, n = schedule(answer.messages, answer.turns)
        scheduled_command = command.write(n)
        if answer.tokens_left <= after + len(self.student.tokenizer.encode(scheduled_command)):
            return str(choice["text"])
        return self.student.tokenizer.decode(choice["token_ids"][:after]) + scheduled_command

    async def _complete(self, server: ModelServer, prompt: str, **options: Any) -> tuple[dict[str, Any], int]:
        """One blocking completion; its choice and the number of its tokens."""
        body = {"model": server.model, "prompt": prompt, "add_special_tokens": False, **_GREEDY, **options}
        response = await self.client.post(f"{server.url}/completions", json=body)
        response.raise_for_status()
        completion = response.json()
        return completion["choices"][0], int(completion["usage"]["completion_tokens"])
