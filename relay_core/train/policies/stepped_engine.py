"""An engine on a vLLM that TRL has made in this process: a thread steps it, and requests come and go at any time.

TRL gives the weights to its vLLM, but its own generation takes a list of prompts, and returns when the last answer has
ended. The relay adds a request whenever a student's turn begins, and every step serves all requests of that moment: an
answer that waits for its teacher delays no other.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any

from relay_core.engines.base import Chunk, Engine, EngineUsage, Prompt, Sampling
from relay_core.engines.in_flight import RequestsInFlight
from relay_core.engines.request_check import checked_ids
from relay_core.engines.vllm_requests import new_tokens, sampling_params
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError
from relay_core.tokenizer import Tokenizer, as_tokenizer
from relay_core.train.policies.stepper import Reader, Stepper

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine


class SteppedEngine(Engine):
    """An engine on vLLM's ``LLMEngine`` in this process.

    Args:
        llm_engine: vLLM's engine, without processes of its own (``VLLM_ENABLE_V1_MULTIPROCESSING=0``).
        tokenizer: the model's tokenizer.
        spec: the engine's name in messages.

    ``Token.logprob`` is of the distribution that was sampled from, after temperature, top_p and top_k, since TRL sets
    vLLM's ``logprobs_mode`` so.
    """

    reports_top_logprob = True

    def __init__(self, llm_engine: LLMEngine, tokenizer: Any, spec: str) -> None:
        self.spec = spec
        self._llm, self._tokenizer = llm_engine, as_tokenizer(tokenizer)
        self._in_flight = RequestsInFlight()
        self._stepper: Stepper | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def context_length(self) -> int:
        return int(self._llm.model_config.max_model_len)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Answer requests until the context ends; requests that still run then fail."""
        self._stepper = Stepper(self._llm)
        try:
            yield
        finally:
            stepper, self._stepper = self._stepper, None
            stepper.stop()

    def _serving_stepper(self) -> Stepper:
        if self._stepper is None:
            raise EngineError(f"{self.spec} answers during rollouts only: between them, the trainer has its weights")
        return self._stepper

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        stepper = self._serving_stepper()
        ids = self._tokenizer.encode(prompt.text) if prompt.token_ids is None else prompt.token_ids
        ids = checked_ids(ids, self._llm.model_config.get_vocab_size())
        if len(ids) >= self.context_length:
            raise ContextOverflow(f"the prompt has {len(ids)} tokens, the model's context is {self.context_length}")
        try:
            params = sampling_params(sampling, logprobs=True, stream_interval=self._in_flight.tokens_per_message())
        except Exception as error:  # the name of vLLM's class for this error differs between its versions
            raise ConfigurationError(f"{self.spec}: vLLM does not take these settings: {error}") from error
        reader, decoder, written = Reader(), self._tokenizer.decoder(ids), 0
        with self._in_flight.track_request():
            try:
                stepper.begin(reader, ids, params)
                while not reader.is_over:
                    output = await reader.next()
                    tokens, finish, end = new_tokens(output)
                    tokens = [t._replace(text=decoder.step(t.id)) for t in tokens if t.id is not None]
                    written += len(tokens)
                    if finish is not None:
                        usage = EngineUsage(len(ids), output.num_cached_tokens, written + (end is not None))
                        yield Chunk(tuple(tokens), finish, end, usage)
                    elif tokens:
                        yield Chunk(tuple(tokens))
            finally:
                if not reader.is_over:
                    stepper.end(reader)
