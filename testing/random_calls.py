"""A student that calls at random places, whatever model it is: for tests of what happens where two models meet."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from relay_core.engines.base import Chunk, Engine, Finish, Prompt, Sampling, Token
from relay_core.engines.wrapped import Wrapped


class CallsAtRandom(Wrapped):
    """Writes ``<call>n</call>`` after some of the tokens of ``inner``, and goes on after the call.

    The command stands after a whole character, begins with a token of its own, and is never cut by the length limit.

    Args:
        inner: the student.
        chance: the probability of a command after a token.
        n: the tokens that a command asks for.
        seed: of the random places; every turn has its own.
        at_start: also write a command before the answer's first token.
    """

    def __init__(self, inner: Engine, chance: float, n: int, seed: int = 0, *, at_start: bool = False) -> None:
        super().__init__(inner)
        self.chance, self.command, self.seed, self.at_start = chance, f"<call>{n}</call>", seed, at_start

    def _command_tokens(self) -> list[Token]:
        tokenizer = self.inner.tokenizer
        if tokenizer is None or not self.inner.speaks_ids:
            return [Token(None, self.command)]
        ids = tokenizer.encode(self.command)
        decoder = tokenizer.decoder(tokenizer.encode("a"))
        return [Token(token_id, decoder.step(token_id)) for token_id in ids]

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        draw = random.Random(f"{self.seed} {prompt.turn} {prompt.messages[-1]['content']}")
        command = self._command_tokens()
        if self.at_start and not prompt.turn and len(command) < sampling.max_tokens:
            yield Chunk(command)
            yield Chunk(finish=Finish.STOP)
            return
        tokenizer, written, room = self.inner.tokenizer, list[int](), sampling.max_tokens - len(command)
        async with aclosing(self.inner.stream(prompt, sampling)) as chunks:
            async for chunk in chunks:
                for i, token in enumerate(chunk.tokens, 1):
                    room -= 1
                    written += [] if token.id is None else [token.id]
                    is_whole = token.id is None or tokenizer is None or not tokenizer.decode(written).endswith("\ufffd")
                    if room >= 0 and token.text and is_whole and draw.random() < self.chance:
                        yield replace(chunk, tokens=tuple(chunk.tokens[:i]), finish=None, ending=None, end_token=None)
                        yield Chunk(command)
                        yield Chunk(finish=Finish.STOP)
                        return
                yield chunk
