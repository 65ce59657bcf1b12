"""What one stream has delivered, and the request for the rest of it, for an engine that goes on elsewhere."""

from __future__ import annotations

from dataclasses import replace

from relay_core.constraint import Constraint
from relay_core.engines.base import Chunk, Prompt, Sampling, Token
from relay_core.engines.request_check import SEEDS


class StreamSoFar:
    """The tokens of one stream, which may come from several requests.

    Args:
        prompt: the prompt of the first request.
        sampling: the sampling of the whole stream.

    ``tokens``: the tokens that have arrived.
    """

    def __init__(self, prompt: Prompt, sampling: Sampling) -> None:
        self._prompt, self._sampling = prompt, sampling
        self.tokens: list[Token] = []
        self._count_at_request = 0  # tokens before the latest request

    @property
    def left(self) -> int:
        """How many tokens may still come."""
        return self._sampling.max_tokens - len(self.tokens)

    @property
    def can_resume(self) -> bool:
        """Whether another request can ask for the rest: all is known as ids, and nothing spans the two requests."""
        s = self._sampling
        spans = s.stop or s.halt is not None or Constraint.of(s) is not None
        return not spans and self._prompt.token_ids is not None and all(t.id is not None for t in self.tokens)

    def next_request(self) -> tuple[Prompt, Sampling]:
        """The prompt and the sampling of a request for the rest."""
        self._count_at_request = len(self.tokens)
        if not self.tokens:
            return self._prompt, self._sampling
        text = "".join(token.text for token in self.tokens)
        prompt = replace(
            self._prompt,
            text=self._prompt.text + text,
            token_ids=[*(self._prompt.token_ids or ()), *(t.id for t in self.tokens if t.id is not None)],
            continuation=self._prompt.continuation + text,
        )
        seed = self._sampling.seed  # the same seed would repeat the random draws of the first request
        seed = None if seed is None else (seed + len(self.tokens)) % SEEDS
        return prompt, replace(self._sampling, max_tokens=self.left, seed=seed)

    def take(self, chunk: Chunk) -> Chunk:
        """Count a chunk's tokens. Returns the chunk, whose usage counts the tokens of earlier requests too."""
        self.tokens += chunk.tokens
        usage = chunk.usage
        if not self._count_at_request or usage is None or usage.completion_tokens is None:
            return chunk
        return replace(chunk, usage=replace(usage, completion_tokens=usage.completion_tokens + self._count_at_request))
