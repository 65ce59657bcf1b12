"""An engine that plays back a script over a real tokenizer, for tests that need exact answers.

    student = ScriptedEngine([["47 * 6 = <call>3</call>"], [". Done."]])
    teacher = ScriptedEngine("282")
    Relay(student, teacher).generate("47 * 6?").text        # "47 * 6 = 282. Done."

A script has one *turn* for each request that an answer sends to the engine. A turn is a text or a list of steps:

    "text"             is encoded, and delivered token by token
    1234               is delivered as this token id
    Delay(0.2)         pauses for this many seconds
    Doubt("text", 0.3) is delivered as text, its tokens with this probability of the likeliest token (and with the
                       head probability 1 - 0.3)
    EngineError("…")   is raised (as is any other exception)
    Finish.LENGTH      ends the stream with this finish; by default it ends with the model's end token

The engine keeps no state between requests: ``Prompt.turn`` says which turn to play.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from relay_core.constraint import Kind
from relay_core.engines.base import Chunk, Engine, EngineUsage, Finish, Prompt, Sampling, Token, Warming
from relay_core.engines.warmed_stream import hold_until_wanted
from relay_core.errors import ConfigurationError, ContextOverflow

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Delay:
    """A pause in a script."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Doubt:
    """Text in a script of whose tokens the model is not sure: the likeliest token there has this probability."""

    text: str
    probability: float


Step = str | int | Delay | Doubt | BaseException | Finish
Turn = str | Sequence[Step]
Script = str | Sequence[Turn] | Callable[[Prompt], Turn]


class ScriptedEngine(Engine):
    """Plays back ``script``.

    Args:
        script: a string (every turn is this text), a list of turns (all turns after the last one are empty), or a
            function from the prompt to a turn.
        tokenizer: a :class:`~relay_core.tokenizer.Tokenizer`, a Hugging Face tokenizer, a folder or hub id, or
            ``"bundled"``. ``None`` delivers text without ids; each character then counts as a token.
        chunk: tokens (or characters) per chunk.
        delay_s: seconds before each chunk.
        context_length: the most tokens of prompt and completion together; ``None`` sets no limit.
        logprob: the log-probability of every token, and of the likeliest token at its place. Any head is accepted; its
            probability for a token is 1 minus the probability of that token.
        constrains: whether the engine accepts constraints of every kind; the script is played unchanged all the same.
        biases_logits: whether the engine accepts ``Sampling.logit_bias``; the script is played unchanged all the same.
        honour_stop: whether a stream ends at ``Sampling.stop`` and ``Sampling.halt``, as it does on real engines (a
            closed command then ends the turn, even if no call follows). By default a turn is played until the loop
            closes it.
        warms: the engine's ``warms``: whether ``warming="auto"`` warms it.
        record: whether to append each request to ``requests``.

    ``requests`` holds the recorded prompts and sampling settings, in order. ``active`` counts the open streams.
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
        biases_logits: bool = False,
        honour_stop: bool = False,
        warms: bool = False,
        record: bool = False,
    ) -> None:
        if chunk < 1:
            raise ConfigurationError(f"chunk is {chunk!r}: write 1 or more")
        self.spec = "scripted"
        self.script = script
        self.speaks_ids = tokenizer is not None
        self.constrains = self.resumes_constraints = constrains
        self.reports_top_logprob = True
        self.biases_logits = biases_logits
        self.requests: list[tuple[Prompt, Sampling]] = []
        self.active = 0
        self._tokenizer_source = tokenizer
        self._tokenizer: Tokenizer | None = None
        self._chunk, self._delay_s, self._context_length = chunk, delay_s, context_length
        self._honour_stop, self._warms = honour_stop, warms
        self._logprob, self._record = logprob, record

    @property
    def tokenizer(self) -> Tokenizer | None:
        if self._tokenizer is None and self._tokenizer_source is not None:
            from relay_core.tokenizer import Tokenizer, as_tokenizer

            if self._tokenizer_source == "bundled":
                from relay_core import bundled

                self._tokenizer = Tokenizer.load(bundled.path("student-relay"))
            elif isinstance(self._tokenizer_source, str) or hasattr(self._tokenizer_source, "__fspath__"):
                self._tokenizer = Tokenizer.load(self._tokenizer_source)
            else:
                self._tokenizer = as_tokenizer(self._tokenizer_source)
        return self._tokenizer

    @property
    def loaded_tokenizer(self) -> Tokenizer | None:
        return self._tokenizer

    @property
    def context_length(self) -> int | None:
        return self._context_length

    @property
    def constraints(self) -> frozenset[Kind]:
        return frozenset(Kind) if self.constrains else frozenset()

    @property
    def warms(self) -> bool:
        return self._warms

    async def check_head(self, folder: str) -> None:
        """Accept any head; its probabilities are those of the script."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        return self._stream(prompt, sampling, None)

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        if self.speaks_ids:
            return super().warm_stream(prompt, sampling, warming)  # through `stream`, which a subclass may override
        return self._stream(prompt, sampling, warming)  # cut to n characters before `_delivered` joins them

    async def _stream(self, prompt: Prompt, sampling: Sampling, warming: Warming | None) -> AsyncGenerator[Chunk, None]:
        if self._record:
            self.requests.append((prompt, sampling))
        prompt_tokens = None if prompt.token_ids is None else len(prompt.token_ids)
        limit = sampling.max_tokens
        if self._context_length is not None and prompt_tokens is not None:
            if prompt_tokens >= self._context_length:
                raise ContextOverflow(f"the prompt has {prompt_tokens} tokens, the context is {self._context_length}")
            limit = min(limit, self._context_length - prompt_tokens)
        chunks = self._play(prompt, sampling, limit)
        if warming is not None:
            chunks = hold_until_wanted(chunks, warming, prompt_tokens)
        self.active += 1
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield replace(chunk, tokens=self._delivered(chunk.tokens))
        finally:
            self.active -= 1

    async def _play(self, prompt: Prompt, sampling: Sampling, limit: int) -> AsyncGenerator[Chunk, None]:
        """The chunks of this request's turn; without ids, each character is a separate token."""
        text, written_count, batch = "", 0, list[Token]()
        finish = Finish.END
        for step in self._steps(prompt):
            if isinstance(step, Token):
                batch.append(step)
                written_count, text = written_count + 1, text + step.text
                if self._honour_stop and any(stop in text for stop in sampling.stop):
                    finish = Finish.STOP
                elif self._honour_stop and sampling.halt is not None and sampling.halt(written_count - 1, step):
                    finish = Finish.HALT
                elif written_count >= limit:
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
        prompt_tokens = None if prompt.token_ids is None else len(prompt.token_ids)
        yield Chunk(batch, finish, end, EngineUsage(prompt_tokens, None, written_count + (end is not None)))

    def _delivered(self, batch: Sequence[Token]) -> tuple[Token, ...]:
        """The tokens of one chunk; without ids, their text as a single token, as an endpoint would send it."""
        if self.speaks_ids or not batch:
            return tuple(batch)
        surest = min(batch, key=lambda token: 0.0 if token.top_logprob is None else token.top_logprob)
        return (surest._replace(text="".join(token.text for token in batch), logprob=batch[0].logprob),)

    def _turn(self, prompt: Prompt) -> Sequence[Step]:
        """The steps of this request's turn, as they are in the script."""
        turn: Turn
        if callable(self.script):
            turn = self.script(prompt)
        elif isinstance(self.script, str):
            turn = self.script
        else:
            turn = self.script[prompt.turn] if prompt.turn < len(self.script) else ""
        return [turn] if isinstance(turn, str) else turn

    def _steps(self, prompt: Prompt) -> Iterator[Token | Delay | BaseException | Finish]:
        """The steps of this request's turn, with text and ids turned into tokens."""
        tokenizer = self.tokenizer
        decoder = None if tokenizer is None else tokenizer.decoder(prompt.token_ids or ())
        for written in self._turn(prompt):
            step = written.text if isinstance(written, Doubt) else written
            logprob = math.log(written.probability) if isinstance(written, Doubt) else self._logprob
            if not isinstance(step, (str, int)) or isinstance(step, Finish):  # a Finish is a string, too
                yield step
            elif tokenizer is None or decoder is None:
                if isinstance(step, int):
                    raise ConfigurationError("a token id in a script needs a tokenizer")
                for char in step:
                    yield _token(None, char, logprob)
            else:
                for token_id in [step] if isinstance(step, int) else tokenizer.encode(step):
                    yield _token(token_id, decoder.step(token_id), logprob)

    def _end_token(self) -> Token | None:
        tokenizer = self.tokenizer
        if tokenizer is None or tokenizer.hf.eos_token_id is None:
            return None
        return _token(int(tokenizer.hf.eos_token_id), "", self._logprob)


def _token(token_id: int | None, text: str, logprob: float | None) -> Token:
    """A token that is the likeliest one at its place."""
    head_probability = None if logprob is None else -math.expm1(logprob)
    return Token(token_id, text, logprob, top_logprob=logprob, head_probability=head_probability)
