"""The engine protocol: everything that the loop knows about an engine.

An engine turns a :class:`Prompt` into an async stream of :class:`Chunk`. Closing the stream early cancels the
request. Requests are independent of each other, and an engine serves any number of them at once.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from relay_core import template
from relay_core.constraint import Constraint, Kind
from relay_core.engines.chunk import Chunk as Chunk
from relay_core.engines.chunk import EngineUsage as EngineUsage
from relay_core.engines.chunk import Finish as Finish
from relay_core.engines.chunk import Token as Token
from relay_core.engines.chunk import Waste as Waste
from relay_core.engines.sampling import Sampling as Sampling
from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

LOG = logging.getLogger("relay_core")
#: after so many answers without a command, a warning about the student is logged (see :meth:`Engine.answer_ended`)
ANSWERS_BEFORE_WARNING = 20

Message = Mapping[str, Any]


class BreakerState(StrEnum):
    """Whether a circuit breaker lets requests pass."""

    CLOSED = "closed"  # every request passes
    OPEN = "open"  # no request passes
    HALF_OPEN = "half-open"  # one request passes, as a trial


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in three forms: ids, text, and messages. Each engine uses the first of these that it can.

    ``token_ids``: the whole prompt in the engine's vocabulary; ``None`` if the engine has no tokenizer on this machine.
    ``text``: the whole prompt as a string. ``messages``, ``tools``, ``continuation``: the prompt before the chat
    template; ``continuation`` is what the assistant has written so far. ``turn``: the number of earlier requests that
    this answer has sent to the engine. ``enable_thinking``: whether the template lets the model think.
    """

    text: str
    token_ids: Sequence[int] | None = None
    messages: Sequence[Message] = ()
    continuation: str = ""
    tools: Sequence[Mapping[str, Any]] | None = None
    turn: int = 0
    enable_thinking: bool = False


class Warming:
    """The number of tokens that a warmed request must deliver, which is known only after the request has begun.

    The engine begins immediately, but delivers nothing until :meth:`wanted` returns. It then delivers at most as many
    tokens as this method returns.

    Args:
        waste: where the engine counts dropped requests, and tokens beyond the wanted number.
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
        """Wait for the number. Cancelling one waiter does not affect the others."""
        return await asyncio.shield(self._wanted)


class Engine(ABC):
    """Continues prompts.

    Subclasses set ``spec`` and implement :meth:`stream`. The constructor makes only cheap checks and loads nothing;
    :meth:`start` loads the model, and is called before the first stream.
    """

    #: the engine's name in messages and reports: its spec, if it has one; never contains secrets
    spec: str = "engine"
    #: what decides the answers beside ``spec``: names and values of options such as the precision; not the default ones
    deciding: tuple[tuple[str, str], ...] = ()
    #: whether the engine honours ``Sampling.json_schema``
    constrains: bool = False
    #: whether a constraint may have begun in the prompt (``Sampling.begun``), so that calls can interrupt an answer
    resumes_constraints: bool = False
    #: whether the engine delivers token ids and uses ``Prompt.token_ids`` unchanged
    speaks_ids: bool = True
    #: whether the engine can continue a text that another author began. Other engines are asked in words to continue,
    #: and cannot be made to begin their answer with a given text.
    continues: bool = True
    #: whether the engine delivers ``Token.top_logprob`` if ``Sampling.top_logprob`` requests it
    reports_top_logprob: bool = False
    #: whether the engine honours ``Sampling.logit_bias``
    biases_logits: bool = False
    #: whether the engine implements :meth:`warm_stream`
    warmable: bool = False
    #: whether the model was loaded before this process was forked, which makes the engine unusable here
    is_lost_in_fork: bool = False
    #: whether the latest call to this engine as a teacher failed (see :meth:`call_ended`)
    _failing: bool = False
    #: the number of answers of this engine as a student, as long as none contained a command; -1 afterwards
    _answers_without_command: int = 0
    #: whether a student without commands is warned of (:meth:`answer_ended`); training and measurements turn it off
    warns_without_commands: bool = True

    @property
    def warms(self) -> bool:
        """``True`` if warming saves time and wasted tokens are free; ``warming="auto"`` then warms this teacher."""
        return False

    @property
    def constraints(self) -> frozenset[Kind]:
        """The kinds of constraints that the engine honours; known for certain after :meth:`start`."""
        return frozenset({Kind.JSON_SCHEMA}) if self.constrains else frozenset()

    async def check_constraint(self, constraint: Constraint) -> None:
        """Start the engine, and check that it can hold a text to ``constraint``, before anything is generated.

        Raises:
            ConfigurationError: it cannot. An engine whose server decides finds out with the request.
        """
        await self.start()
        if constraint.kind not in self.constraints:
            raise ConfigurationError(
                f"{self.spec} ({type(self).__name__}) cannot hold a text to {constraint.kind}: "
                "TransformersEngine and VLLMEngine can"
            )

    async def check_head(self, folder: str) -> None:
        """Check that the engine can compute the head in ``folder`` (``Sampling.head``), before anything is generated.

        Raises:
            ConfigurationError: it cannot, or the head was fitted to another model.
        """
        raise self.gives_no_hidden_state()

    def gives_no_hidden_state(self) -> ConfigurationError:
        """The error of an engine that cannot compute heads."""
        return ConfigurationError(
            f"a head reads the student's hidden state, which {self.spec} ({type(self).__name__}) does not give: use a "
            "student in this process on transformers (transformers:PATH), or write trigger='uncertain:0.4,8', which "
            "needs the student's probabilities only"
        )

    @property
    def breaker(self) -> BreakerState | None:
        """The state of the engine's circuit breaker; ``None`` for an engine without one."""
        return None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer, or ``None`` if only the server has it."""
        return None

    @property
    def loaded_tokenizer(self) -> Tokenizer | None:
        """:attr:`tokenizer`, or ``None`` while it is not loaded; loads nothing."""
        return self.tokenizer

    @property
    def vocabulary(self) -> Tokenizer | None:
        """The tokenizer whose ids ``Sampling.logit_bias`` has: :attr:`tokenizer`, or that of a model behind an endpoint
        that takes text only; ``None`` if only the server has it."""
        return self.tokenizer

    @property
    def context_length(self) -> int | None:
        """The most tokens of prompt and completion together; ``None`` if unknown."""
        return None

    async def load(self) -> None:
        """Load the model for a relay, if it runs in this process. The time limit of a call does not include this.

        Raises (an error ends the answer):
            ConfigurationError: the model cannot be used, or its chat template cannot.
            EngineError: the model could not be loaded.
        """

    async def start(self) -> None:
        """Load the model or connect to the server. Safe to call repeatedly and concurrently.

        Raises:
            ConfigurationError: the model cannot be used.
            EngineError: the model could not be loaded, or the server could not be reached.
        """

    @abstractmethod
    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """Continue ``prompt``: an async generator of chunks, the last one with ``finish``.

        Closing the generator cancels the request.

        Raises:
            ContextOverflow: the prompt alone fills the context; nothing was generated.
            EngineError: any other failure; ``__cause__`` holds the original exception, or only its text.
        """

    def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        """Begin a stream now, for a number of tokens that ``warming`` provides later.

        The loop calls this method only if the engine is ``warmable``. This implementation holds back the chunks of
        :meth:`stream` and cuts them at that number. Engines that can shorten a running request override it.

        Args:
            prompt: as for :meth:`stream`.
            sampling: as for :meth:`stream`; ``max_tokens`` is the most that may be wanted.
            warming: provides the number, and counts waste.
        """
        from relay_core.engines.warmed_stream import hold_until_wanted

        prompt_tokens = None if prompt.token_ids is None else len(prompt.token_ids)
        return hold_until_wanted(self.stream(prompt, sampling), warming, prompt_tokens)

    def timed_out(self, reason: str) -> str:
        """Tell the engine that its caller dropped a request because no token arrived in time.

        Returns ``reason``, extended with the cause if the engine knows it.
        """
        return reason

    def call_ended(self, error: str | None) -> None:
        """Tell the engine, as a teacher, how a call ended.

        Args:
            error: why the call failed; ``None`` if it succeeded. The first failure is logged as a warning, further
                failures at level INFO until a call succeeds.
        """
        if error is not None:
            level = logging.INFO if self._failing else logging.WARNING
            LOG.log(level, "a call to the teacher failed, and the student continues alone: %s: %s", self.spec, error)
        self._failing = error is not None

    def answer_ended(self, *, commands: int) -> None:
        """Count an answer of the engine as a student that may call; a warning is logged once if none has a command.

        Args:
            commands: the number of commands in the answer, including malformed and refused ones.
        """
        if commands or not self.warns_without_commands:
            self._answers_without_command = -1
        elif self._answers_without_command >= 0:
            self._answers_without_command += 1
        if not commands and self._answers_without_command == ANSWERS_BEFORE_WARNING:
            LOG.warning(
                "the model %s has written no command in its first %d answers as the student, so the teacher was never "
                "called: a student calls only if it was trained to (python -m relay_core.train) or told to "
                "(student_instructions); trigger='uncertain:0.4,8' calls where it is unsure",
                self.spec, ANSWERS_BEFORE_WARNING,
            )  # fmt: skip

    async def aclose(self) -> None:
        """Free everything that :meth:`start` loaded. The engine can be started again."""

    def describe(self) -> dict[str, Any]:
        """Facts about the engine for ``relay doctor`` and reports, without secrets."""
        return {
            "spec": self.spec,
            "engine": type(self).__name__,
            "context_length": self.context_length,
            **template.describe(self.loaded_tokenizer),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec!r})"

    # -- copies --------------------------------------------------------------------------------------------

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """The engine itself: copies of a relay share its models and connections."""
        return self

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle the engine's options, without its model, connections and keys; unpickling builds a new engine.

        Engines that a spec can name override this method.

        Raises:
            ConfigurationError: the engine cannot be pickled.
        """
        raise self.not_picklable("no spec names it")

    def not_picklable(self, reason: str) -> ConfigurationError:
        """The error of an engine that cannot be pickled; ``reason`` says why."""
        return ConfigurationError(
            f"{self!r} cannot be pickled ({reason}): build it in the process that uses it, or pickle a model that "
            "names its engines by specs, such as Relay(student='transformers:PATH', teacher='openai:MODEL@URL')"
        )
