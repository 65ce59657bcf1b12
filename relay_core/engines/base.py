"""The engine protocol: what the loop needs of whatever continues a prompt, and nothing else.

An engine turns a :class:`Prompt` into an async stream of :class:`Chunk`. Closing the stream early cancels the
work. Engines hold no state between requests that a caller could notice, and may serve any number at once.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from relay_core.engines.openai.retries import BreakerState
    from relay_core.tokenizer import Tokenizer

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


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some tokens, in order. The last chunk has ``finish``.

    ``end_token`` is the model's end token where ``finish`` is END and the engine knows ids; it is not in
    ``tokens``. ``notes`` carries what a person should know of this stream so far (``{"approximate": …}``); what is a
    count there is added up over an answer.
    """

    tokens: Sequence[Token] = ()
    finish: Finish | None = None
    end_token: Token | None = None
    usage: EngineUsage | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


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
    """How many tokens are wanted of a request that was begun before that was known.

    The engine begins at once, delivers nothing before :meth:`wanted`, and no more than that then.
    """

    def __init__(self) -> None:
        self._wanted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def want(self, n: int) -> None:
        """Say it, once; at most ``Sampling.max_tokens``."""
        self._wanted.set_result(n)

    @property
    def is_wanted(self) -> bool:
        """Whether it was said."""
        return self._wanted.done()

    async def wanted(self) -> int:
        """The number, once it is said; whoever waits may be cancelled."""
        return await asyncio.shield(self._wanted)


@dataclass(slots=True)
class Waste:
    """What was used in vain, as far as engines know: whole requests, what these read, and tokens nobody took.

    ``cached_tokens``: of ``prompt_tokens``; ``None`` where an engine does not say.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = 0
    tokens: int = 0

    def add(self, prompt_tokens: int | None, cached_tokens: int | None, tokens: int) -> None:
        """One more request in vain."""
        self.requests += 1
        self.prompt_tokens += prompt_tokens or 0
        self.cached_tokens = (
            None if cached_tokens is None or self.cached_tokens is None else self.cached_tokens + cached_tokens
        )
        self.tokens += tokens


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to continue. ``temperature`` 0 is greedy; ``top_k`` ``None`` and ``top_p`` 1 cut nothing.

    ``stop``: strings in the *generated* text at which to end; the token that completes one is delivered whole.
    ``json_schema``: constrain the text to this schema, on engines with ``constrains``. ``warming``: ``max_tokens``
    is only the most that may be wanted, on engines that are ``warmable``. ``waste``: where the engine counts what it
    used in vain.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None
    warming: Warming | None = field(default=None, compare=False)
    waste: Waste | None = field(default=None, compare=False)


class Engine(ABC):
    """Something that continues a prompt.

    Subclasses set ``spec`` (how a person would name this engine; no secret in it) and implement
    :meth:`stream`. ``start`` does the heavy loading and is called before the first stream; building an engine
    checks what can be checked cheaply and loads nothing.
    """

    spec: str = "engine"
    #: offers ``Sampling.json_schema``
    constrains: bool = False
    #: delivers ids, and takes ``Prompt.token_ids`` untouched
    speaks_ids: bool = True
    #: goes on from a text that somebody else began; where not, it is asked in words, and no beginning can be forced
    continues: bool = True
    #: takes ``Sampling.warming``
    warmable: bool = False
    #: its last call as a teacher failed; written by the loop, which warns of the first only
    failing: bool = False

    @property
    def warms(self) -> bool:
        """Whether ``warming="auto"`` warms it as a teacher: where it is faster, and nobody pays for what is wasted."""
        return False

    @property
    def breaker(self) -> BreakerState | None:
        """The state of its circuit breaker, where it has one."""
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

    def given_up(self, why: str) -> str:
        """Learn that a request was dropped because nothing had come in the time its caller had for it.

        Returns ``why``, and what the engine knows of the reason.
        """
        return why

    async def aclose(self) -> None:
        """Free what ``start`` took. The engine may be started again."""

    def describe(self) -> dict[str, Any]:
        """What a person would want to know, for ``relay doctor`` and reports; no secrets."""
        return {"spec": self.spec, "engine": type(self).__name__, "context_length": self.context_length}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec!r})"
