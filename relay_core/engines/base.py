"""The engine protocol: what the loop needs of whatever continues a prompt, and nothing else.

An engine turns a :class:`Prompt` into an async stream of :class:`Chunk`. Closing the stream early cancels the
work. Engines hold no state between requests that a caller could notice, and may serve any number at once.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from relay_core.usage import sum_or_none

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

LOG = logging.getLogger("relay_core")

Message = Mapping[str, Any]


class Token(NamedTuple):
    """One sampled token.

    ``text`` is what the reader's text grew by when it came: empty while a character is incomplete, and for
    control tokens. ``id`` is ``None`` where the engine gives text only; then ``text`` may span several tokens.
    ``logprob`` is the natural log-probability under the distribution it was sampled from, before temperature
    and cut-offs, where the engine gives one.
    """

    id: int | None
    text: str
    logprob: float | None = None


class BreakerState(StrEnum):
    """Whether a circuit breaker lets requests pass."""

    CLOSED = "closed"  # every request passes
    OPEN = "open"  # no request passes
    HALF_OPEN = "half-open"  # one request passes, as a trial


class Finish(StrEnum):
    """Why an engine's stream ended."""

    END = "end"  # the model's own end token
    STOP = "stop"  # one of Sampling.stop; the token that completed it was delivered whole
    LENGTH = "length"  # Sampling.max_tokens, or the model's context


@dataclass(frozen=True, slots=True)
class EngineUsage:
    """What one request used. ``None``: the engine does not say; never zero for unknown."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(slots=True)
class Waste:
    """Tokens that were paid for in vain, as far as engines know.

    ``requests``: requests none of whose tokens were used. ``prompt_tokens``, ``cached_tokens``: what those requests
    read; ``cached_tokens`` is ``None`` where an engine does not say. ``tokens``: tokens written by those requests, or
    written beyond what was wanted by others.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = 0
    tokens: int = 0

    def add(self, prompt_tokens: int | None, cached_tokens: int | None, tokens: int) -> None:
        """Count one more request that was made in vain."""
        self.requests += 1
        self.prompt_tokens += prompt_tokens or 0
        self.cached_tokens = sum_or_none(self.cached_tokens, cached_tokens)
        self.tokens += tokens

    def merge(self, other: Waste) -> None:
        """Add everything that ``other`` counted."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens = sum_or_none(self.cached_tokens, other.cached_tokens)
        self.tokens += other.tokens


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some tokens, in order. The last chunk has ``finish``.

    ``end_token`` is the model's end token where ``finish`` is END and the engine knows ids; it is not in ``tokens``.
    ``usage``, ``notes`` and ``waste`` describe the whole stream so far, so that the latest of each counts: ``notes``
    is what a person should know of it (``{"approximate": …}``; integers are added up over an answer), ``waste`` what
    it used in vain (a request that lost against its hedge).
    """

    tokens: Sequence[Token] = ()
    finish: Finish | None = None
    end_token: Token | None = None
    usage: EngineUsage | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    waste: Waste | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in every form an engine may need; each engine takes the richest that it can use.

    ``token_ids``: the whole prompt, continuation included, in the engine's own vocabulary (``None`` where the
    engine has no tokenizer here). ``text``: the same as text. ``messages``, ``tools`` and ``continuation`` (what
    the assistant has already written): the same before the template, for chat endpoints.
    """

    text: str
    token_ids: Sequence[int] | None = None
    messages: Sequence[Message] = ()
    continuation: str = ""
    tools: Sequence[Mapping[str, Any]] | None = None
    turn: int = 0


class Warming:
    """The promise of a number: how many tokens are wanted of a request that begins before that is known.

    The engine begins at once and delivers nothing before :meth:`wanted` has answered, and no more than that then.

    Args:
        waste: where the engine counts what it used in vain: a request that is dropped, or tokens beyond the number.
    """

    def __init__(self, waste: Waste | None = None) -> None:
        self.waste = Waste() if waste is None else waste
        self._wanted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def want(self, n: int) -> None:
        """Set the number, once; at most ``Sampling.max_tokens``."""
        self._wanted.set_result(n)

    @property
    def is_wanted(self) -> bool:
        """Whether the number is set."""
        return self._wanted.done()

    async def wanted(self) -> int:
        """Wait for the number; cancelling one waiter leaves the others waiting."""
        return await asyncio.shield(self._wanted)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to continue a prompt: a value.

    Args:
        max_tokens: how many tokens to write at most.
        temperature: 0 is greedy.
        top_p, top_k: the cut-offs; 1 and ``None`` cut nothing.
        seed: of this request's draws; ``None`` leaves them to the engine.
        stop: strings in the *generated* text at which to end; the token that completes one is delivered whole.
        json_schema: a schema that the text must follow, on engines with ``constrains``.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None


class Engine(ABC):
    """Something that continues a prompt.

    Subclasses set ``spec`` (how a person would name this engine; no secret in it) and implement
    :meth:`stream`. ``start`` does the heavy loading and is called before the first stream; building an engine
    checks what can be checked cheaply and loads nothing.
    """

    spec: str = "engine"
    #: honours ``Sampling.json_schema``
    constrains: bool = False
    #: delivers token ids, and takes ``Prompt.token_ids`` untouched
    speaks_ids: bool = True
    #: continues a text that another author began; an engine that cannot is asked in words to go on, and its answer
    #: cannot be made to begin with a given text
    continues: bool = True
    #: implements :meth:`warm_stream`
    warmable: bool = False
    #: the latest call to this engine as a teacher failed (see :meth:`call_ended`)
    _failing: bool = False

    @property
    def warms(self) -> bool:
        """``True`` where warming saves time and wasted tokens are free; ``warming="auto"`` then warms this teacher."""
        return False

    @property
    def breaker(self) -> BreakerState | None:
        """The state of the engine's circuit breaker; ``None`` for an engine without one."""
        return None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer, or ``None`` where only the far side has it."""
        return None

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and completion together, or ``None`` where unknown."""
        return None

    async def start(self) -> None:
        """Load what is heavy. Safe to call often and at once.

        Raises:
            ConfigurationError: the model cannot be used.
            EngineError: it could not be loaded or reached.
        """

    @abstractmethod
    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """Continue ``prompt``; an async generator of chunks, the last one with ``finish``.

        Closing the generator cancels the request.

        Raises:
            ContextOverflow: the prompt alone fills the context; nothing was generated.
            EngineError: anything else that went wrong, its cause kept.
        """

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        """Begin :meth:`stream` now, for a number of tokens that ``warming`` tells later.

        ``sampling.max_tokens`` is the most that may be wanted. Only called on engines that are ``warmable``. This
        implementation holds the chunks of :meth:`stream` back and cuts them at the number; an engine that can end
        the work itself overrides it.
        """
        from relay_core.engines.warmed_stream import hold_until_wanted

        prompt_tokens = None if prompt.token_ids is None else len(prompt.token_ids)
        return hold_until_wanted(self.stream(prompt, sampling), warming, prompt_tokens)

    def timed_out(self, reason: str) -> str:
        """Tell the engine that its caller dropped a request because no token had come in time.

        Returns ``reason``, with what the engine knows of the cause.
        """
        return reason

    def call_ended(self, error: str | None) -> None:
        """Tell the engine how a call to it as a teacher ended.

        The first failure is logged as a warning; further ones at level INFO, until a call succeeds.
        """
        if error is not None:
            level = logging.INFO if self._failing else logging.WARNING
            LOG.log(level, "a call of the teacher failed, the student goes on alone: %s: %s", self.spec, error)
        self._failing = error is not None

    async def aclose(self) -> None:
        """Free what ``start`` took. The engine may be started again."""

    def describe(self) -> dict[str, Any]:
        """What a person would want to know, for ``relay doctor`` and reports; no secrets."""
        return {"spec": self.spec, "engine": type(self).__name__, "context_length": self.context_length}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec!r})"
