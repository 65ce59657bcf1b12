"""The published way of relaying, for comparison: rounds of blocking batch calls, with text passed on.

In each round every unfinished answer of a batch is sent to the student at once, up to its next command or its end;
when the slowest is back, those that called are sent to the teacher at once; when the slowest of these is back, the next
round begins. All that was written is sent again as text, and encoded again by the server.

Its own errors in the answer are left out, so that it answers as the relay does and only the way of asking is compared:
a command leaves no space behind, the teacher's prompt is not stripped, and nothing is sampled.
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

from relay_core import command
from relay_core.chat import Conversation, render
from relay_core.tokenizer import Tokenizer

_CALL = re.compile(r"<call>\s*([0-9]{1,9})\s*</call>$")
_GREEDY = {"temperature": 0, "top_p": 1, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass
class Party:
    """A model behind a URL (``…/v1``), and the tokenizer that renders its chat template."""

    url: str
    model: str
    tokenizer: Tokenizer


@dataclass
class Answer:
    """One answer under way; ``handovers`` holds seconds from the command to the next time the student is asked."""

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    prompts: tuple[str, str] = ("", "")  # the student's, the teacher's
    written: str = ""  # the student's view
    text: str = ""  # the reader's
    student_tokens: int = 0
    teacher_tokens: int = 0
    turns: int = 0
    n: int = 0  # of the call to be made
    began: float = 0.0
    called: float = 0.0
    first_s: float = 0.0
    seconds: float = 0.0
    done: bool = False
    handovers: list[float] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.max_tokens - self.student_tokens - self.teacher_tokens


class Lockstep:
    """The loop.

    Args:
        student, teacher: the two servers.
        points: where a student of random weights calls (``random_pair.points``).
    """

    def __init__(self, student: Party, teacher: Party, points: Any = None) -> None:
        self.student, self.teacher, self.points = student, teacher, points
        # given up before vLLM's server gives them up, which it does after 5 s
        limits = httpx.Limits(max_connections=10_000, max_keepalive_connections=512, keepalive_expiry=2)
        self.client = HttpxAiohttpClient(timeout=600, limits=limits, trust_env=False)

    async def aclose(self) -> None:
        await self.client.aclose()

    async def answer(self, batch: Sequence[Answer]) -> None:
        """Fill in the answers of one batch, round by round."""
        for a in batch:
            a.began, said = time.perf_counter(), Conversation.of(list(a.messages))
            a.prompts = render(self.student.tokenizer, said).text, render(self.teacher.tokenizer, said).text
        while active := [a for a in batch if not a.done]:
            await asyncio.gather(*map(self.ask_student, active))
            now = time.perf_counter()
            for a in active:
                a.first_s = a.first_s or now - a.began
                a.seconds = now - a.began
            callers = [a for a in active if a.n and not a.done]
            await asyncio.gather(*map(self.ask_teacher, callers))
            now = time.perf_counter()
            for a in callers:
                a.handovers.append(now - a.called)
                a.seconds, a.n, a.done = now - a.began, 0, a.left <= 0

    async def ask_student(self, a: Answer) -> None:
        choice, tokens = await self.complete(self.student, a.prompts[0] + a.written, **self.turn(a))
        a.called = time.perf_counter()
        text = self.dictated(a, choice) if self.points is not None else choice["text"]
        a.turns += 1
        a.student_tokens += tokens
        found = _CALL.search(text)
        stopped = choice.get("stop_reason") == command.CLOSE or found is not None
        a.n = min(int(found[1]), a.left) if found else 0
        a.written += text
        a.text += text[: found.start()] if found else text
        a.done = not stopped or a.left <= 0

    async def ask_teacher(self, a: Answer) -> None:
        choice, tokens = await self.complete(self.teacher, a.prompts[1] + a.text, max_tokens=a.n)
        a.teacher_tokens += tokens - (choice["finish_reason"] == "stop")  # its end token is no part of the answer
        a.written += choice["text"]
        a.text += choice["text"]

    def turn(self, a: Answer) -> dict[str, Any]:
        """What a turn of the student asks for."""
        if self.points is None:
            return {"max_tokens": a.left, "stop": [command.CLOSE], "include_stop_str_in_output": True}
        after, n = self.points(a.messages, a.turns)
        length = after + len(self.student.tokenizer.encode(command.write(n)))
        return {"max_tokens": min(length, a.left), "return_token_ids": True}

    def dictated(self, a: Answer, choice: Mapping[str, Any]) -> str:
        """The student's words, and a command in the place of the last ones where its turn was long enough."""
        after, n = self.points(a.messages, a.turns)
        written = command.write(n)
        if a.left <= after + len(self.student.tokenizer.encode(written)):
            return str(choice["text"])
        return self.student.tokenizer.decode(choice["token_ids"][:after]) + written

    async def complete(self, party: Party, prompt: str, **asked: Any) -> tuple[dict[str, Any], int]:
        """One blocking completion: the choice and its tokens."""
        body = {"model": party.model, "prompt": prompt, "add_special_tokens": False, **_GREEDY, **asked}
        response = await self.client.post(f"{party.url}/completions", json=body)
        response.raise_for_status()
        answer = response.json()
        return answer["choices"][0], int(answer["usage"]["completion_tokens"])
