"""An engine that plays back a script over a real tokenizer: for tests, ours and yours, where all must be exact.

    student = ScriptedEngine([["47 * 6 = <call>3</call>"], [". Done."]])
    teacher = ScriptedEngine("282")
    Relay(student, teacher).generate("47 * 6?").text        # "47 * 6 = 282. Done."

A script is one *turn* for every request that an answer makes of the engine; a turn is text, or a list of

    "text"             encoded, and delivered token by token
    1234               this very token id
    Delay(0.2)         a pause
    EngineError("…")   a failure at this point (any exception is raised as it is)
    Finish.LENGTH      an end other than the model's end token

It keeps no state between requests: the loop says which turn a request is (``Prompt.turn``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from relay_core.engines.base import Chunk, Engine, EngineUsage, Finish, Prompt, Sampling, Token, Warming
from relay_core.engines.warmed_stream import hold_until_wanted
from relay_core.errors import ConfigurationError, ContextOverflow

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Delay:
    """A pause of so many seconds."""

    seconds: float


Step = str | int | Delay | BaseException | Finish
Turn = str | Sequence[Step]
Script = str | Sequence[Turn] | Callable[[Prompt], Turn]


class ScriptedEngine(Engine):
    """Plays back ``script``.

    Args:
        script: a string (the same turn whatever is asked), a list of turns (those after the last are empty), or
            a function from the prompt to a turn.
        tokenizer: a :class:`~relay_core.tokenizer.Tokenizer`, a Hugging Face tokenizer, a folder or hub id, or
            ``"bundled"``; ``None`` delivers text without ids, every character counting as a token.
        chunk: tokens (or characters) delivered together.
        delay_s: seconds before each chunk.
        context_length: tokens of prompt and completion together.
        logprob: the log-probability given with every token.
        constrains: whether to claim constrained decoding.
        honour_stop: end at ``Sampling.stop``, as real engines do (a closed command then ends a turn, also where no
            call comes of it); by default a turn is played until the loop closes it.
        warms: whether ``warming="auto"`` warms it.

    ``requests`` holds what was asked, in order, where ``record`` is true; ``active`` counts streams that run now.
    """

    warmable = True

    def __init__(
        self,
        script: Script,
        tokenizer: Any = "bundled",
        *,
        chunk: int = 1,
        delay_s: float = 0.0,
        context_length: int | None = None,
        logprob: float | None = None,
        constrains: bool = False,
        honour_stop: bool = False,
        warms: bool = False,
        record: bool = False,
    ) -> None:
        if chunk < 1:
            raise ConfigurationError(f"chunk is {chunk!r}: write 1 or more")
        self.spec = "scripted"
        self.script = script
        self.speaks_ids = tokenizer is not None
        self.constrains = constrains
        self.requests: list[tuple[Prompt, Sampling]] = []
        self.active = 0
        self._given = tokenizer
        self._tokenizer: Tokenizer | None = None
        self._chunk, self._delay_s, self._context_length = chunk, delay_s, context_length
        self._honour_stop, self._warms = honour_stop, warms
        self._logprob, self._record = logprob, record

    @property
    def tokenizer(self) -> Tokenizer | None:
        if self._tokenizer is None and self._given is not None:
            from relay_core.tokenizer import Tokenizer, as_tokenizer

            if self._given == "bundled":
                from relay_core import bundled

                self._tokenizer = Tokenizer.load(bundled.path("student-relay"))
            elif isinstance(self._given, str) or hasattr(self._given, "__fspath__"):
                self._tokenizer = Tokenizer.load(self._given)
            else:
                self._tokenizer = as_tokenizer(self._given)
        return self._tokenizer

    @property
    def context_length(self) -> int | None:
        return self._context_length

    @property
    def warms(self) -> bool:
        return self._warms

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, None)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        if self.speaks_ids:
            return super().warm_stream(prompt, sampling, warming)  # through `stream`, which subclasses override
        return self._stream(prompt, sampling, warming)  # cut by the character, before characters are joined

    async def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        if self._record:
            self.requests.append((prompt, sampling))
        length = None if prompt.token_ids is None else len(prompt.token_ids)
        limit = sampling.max_tokens
        if self._context_length is not None and length is not None:
            if length >= self._context_length:
                raise ContextOverflow(f"the prompt has {length} tokens, the context is {self._context_length}")
            limit = min(limit, self._context_length - length)
        chunks = self._play(prompt, sampling, limit)
        if warming is not None:
            chunks = hold_until_wanted(chunks, warming, length)
        self.active += 1
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield replace(chunk, tokens=self._delivered(chunk.tokens))
        finally:
            self.active -= 1

    async def _play(self, prompt: Prompt, sampling: Sampling, limit: int) -> AsyncGenerator[Chunk, None]:
        length = None if prompt.token_ids is None else len(prompt.token_ids)
        sent, said, batch = 0, "", list[Token]()
        finish = Finish.END
        for step in self._steps(prompt):
            if isinstance(step, Token):
                batch.append(step)
                sent, said = sent + 1, said + step.text
                if self._honour_stop and any(stop in said for stop in sampling.stop):
                    finish = Finish.STOP
                elif sent >= limit:
                    finish = Finish.LENGTH
                if finish is not Finish.END:
                    break
                if len(batch) >= self._chunk:
                    await asyncio.sleep(self._delay_s)
                    yield Chunk(batch)
                    batch = []
                continue
            if batch:
                await asyncio.sleep(self._delay_s)
                yield Chunk(batch)
                batch = []
            if isinstance(step, Delay):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Finish):
                finish = step
                break
            else:
                raise step.with_traceback(None)
        await asyncio.sleep(self._delay_s)
        end = self._end_token() if finish is Finish.END else None
        yield Chunk(batch, finish, end, EngineUsage(length, None, sent + (end is not None)))

    def _delivered(self, batch: Sequence[Token]) -> tuple[Token, ...]:
        """Without ids, text comes in one piece, as from an endpoint."""
        if self.speaks_ids or not batch:
            return tuple(batch)
        return (Token(None, "".join(token.text for token in batch), batch[0].logprob),)

    def _steps(self, prompt: Prompt) -> Iterator[Token | Delay | BaseException | Finish]:
        """The turn of this request, its text as tokens."""
        turn: Turn
        if callable(self.script):
            turn = self.script(prompt)
        elif isinstance(self.script, str):
            turn = self.script
        else:
            turn = self.script[prompt.turn] if prompt.turn < len(self.script) else ""
        steps: Iterable[Step] = [turn] if isinstance(turn, str) else turn
        decoder = None if self.tokenizer is None else self.tokenizer.decoder(prompt.token_ids or ())
        for step in steps:
            if isinstance(step, Finish):  # a string too
                yield step
            elif isinstance(step, str) and self.tokenizer is not None:
                for token_id in self.tokenizer.encode(step):
                    assert decoder is not None
                    yield Token(token_id, decoder.step(token_id), self._logprob)
            elif isinstance(step, str):
                for char in step:
                    yield Token(None, char, self._logprob)
            elif isinstance(step, int):
                if decoder is None:
                    raise ConfigurationError("a token id in a script needs a tokenizer")
                yield Token(step, decoder.step(step), self._logprob)
            else:
                yield step

    def _end_token(self) -> Token | None:
        tokenizer = self.tokenizer
        if tokenizer is None or tokenizer.hf.eos_token_id is None:
            return None
        return Token(int(tokenizer.hf.eos_token_id), "", self._logprob)
