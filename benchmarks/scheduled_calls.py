"""Students that call the teacher on a schedule, so that a relay's speed does not depend on what the student has learnt.

Both engines wrap the student's own engine, which decodes every token at its usual cost. Some of its tokens are then
replaced with the ids of ``<call>n</call>``. The wrapped engine has cached the tokens that the student really wrote
there, so each hand-over reads the command's tokens again (eight in Qwen3's vocabulary), which would not be necessary
with a trained student.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from relay_core import command
from relay_core.engines.base import Chunk, Engine, Finish, Message, Prompt, Sampling, Token
from relay_core.engines.wrapped import Wrapped
from relay_core.tokenizer import Tokenizer


class CallPoint(NamedTuple):
    """Where a turn calls: after so many student tokens, for ``n`` teacher tokens."""

    after: int
    n: int


#: the call of a turn, from the conversation and the number of the turn
Schedule = Callable[[Sequence[Message], int], CallPoint]


def random_schedule(every: int, n: int) -> Schedule:
    """A schedule that is drawn from the conversation's last message and the turn.

    Args:
        every: student tokens before a call, on average; each draw is between 0.5 and 1.5 times as many.
        n: teacher tokens of a call, likewise.
    """

    def call_point(messages: Sequence[Message], turn: int) -> CallPoint:
        rng = random.Random(zlib.crc32(f"{turn} {messages[-1]['content']}".encode()))
        return CallPoint(rng.randint(every - every // 2, every + every // 2), rng.randint(max(1, n // 2), n + n // 2))

    return call_point


class ScheduledCalls(Wrapped):
    """Ends each turn of the student with the call of a schedule.

    A turn that is too short for its call, and a turn in which no call may come, are left as they are.
    """

    def __init__(self, inner: Engine, schedule: Schedule) -> None:
        super().__init__(inner)
        self.schedule = schedule

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        after, n = self.schedule(prompt.messages, prompt.turn)
        command_tokens = _command_tokens(self.tokenizer, n)
        length = after + len(command_tokens)
        if not sampling.stop or length >= sampling.max_tokens:  # no call may come, or nothing could follow it
            after = length = sampling.max_tokens
        written = 0
        async with aclosing(self.inner.stream(prompt, replace(sampling, max_tokens=length, stop=()))) as chunks:
            async for chunk in chunks:
                own_tokens = chunk.tokens[: max(0, after - written)]
                begin, written = max(0, written - after), written + len(chunk.tokens)
                tokens = (*own_tokens, *command_tokens[begin : max(0, written - after)])
                has_called = after < length == written
                yield replace(chunk, tokens=tokens, finish=Finish.STOP if has_called else chunk.finish)


class DictatedCalls(Wrapped):
    """Writes a command every ``every`` tokens on average, until the student ends its answer.

    The prompt's ids decide how far apart calls are, between 0.5 and 1.5 times ``every``: if all distances were equal,
    requests that begin together would call together. ``<`` is removed from the student's own tokens, so that the
    student opens no command by itself. Only the temperature of the loop's sampling is passed on, not the cut-offs.

    Args:
        inner: the student's engine; it must have a tokenizer.
        every: student tokens from one call to the next, the command's included.
        n: teacher tokens of each call.
    """

    def __init__(self, inner: Engine, every: int, n: int) -> None:
        super().__init__(inner)
        self.every, self.n = every, n

    @cached_property
    def _command(self) -> list[Token]:
        return _command_tokens(self.tokenizer, self.n)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        assert prompt.token_ids is not None
        turn_length = max(len(self._command), self.every // 2 + sum(prompt.token_ids) % self.every)
        command_at, written = turn_length - len(self._command), 0
        own_sampling = Sampling(sampling.max_tokens, sampling.temperature)
        async with aclosing(self.inner.stream(prompt, own_sampling)) as chunks:
            async for chunk in chunks:
                tokens: list[Token] = []
                for token in chunk.tokens:
                    index = written - command_at
                    if sampling.stop and 0 <= index < len(self._command):
                        tokens.append(self._command[index])
                    else:
                        tokens.append(token._replace(text=token.text.replace("<", "")))
                    written += 1
                finish = Finish.STOP if sampling.stop and written >= turn_length else chunk.finish
                yield Chunk(tokens, finish, chunk.end_token, chunk.usage)
                if finish is not None:
                    return


def _command_tokens(tokenizer: Tokenizer | None, n: int) -> list[Token]:
    """``<call>n</call>`` as tokens."""
    assert tokenizer is not None
    decoder = tokenizer.decoder()
    return [Token(token_id, decoder.step(token_id)) for token_id in tokenizer.encode(command.write(n))]
