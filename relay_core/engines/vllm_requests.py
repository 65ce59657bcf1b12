"""What an engine sends to vLLM for one request, and the tokens that come back; the same in every engine on vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.engines.base import Finish, Sampling, Token
from relay_core.errors import EngineError

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput


def sampling_params(sampling: Sampling, *, logprobs: bool, stream_interval: int, **others: Any) -> SamplingParams:
    """vLLM's parameters for a request, whose outputs hold the new tokens only (:func:`new_tokens`).

    Args:
        sampling: the request's settings; a constraint in it is not passed on.
        logprobs: whether every token has its log-probability.
        stream_interval: the number of tokens that are delivered together.
        others: further arguments of vLLM's class.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k or 0,
        seed=sampling.seed,
        logit_bias=None if sampling.logit_bias is None else dict(sampling.logit_bias),
        stop=list(sampling.stop) or None,
        include_stop_str_in_output=bool(sampling.stop),
        detokenize=bool(sampling.stop),
        logprobs=1 if sampling.top_logprob else 0 if logprobs else None,
        stream_interval=stream_interval,
        output_kind=RequestOutputKind.DELTA,
        **others,
    )


def new_tokens(output: RequestOutput) -> tuple[list[Token], Finish | None, Token | None]:
    """The new tokens, which are not decoded yet; the finish, if the stream has ended; and the end token."""
    completion = output.outputs[0]
    tokens = []
    for i, token_id in enumerate(completion.token_ids):
        entries = completion.logprobs[i] if completion.logprobs else {}  # of this token and, if wanted, the likeliest
        own = entries.get(token_id)
        top = max((entry.logprob for entry in entries.values()), default=None)
        tokens.append(Token(int(token_id), "", None if own is None else own.logprob, top_logprob=top))
    if completion.finish_reason is None:
        return tokens, None, None
    if completion.finish_reason == "length":
        return tokens, Finish.LENGTH, None
    if completion.finish_reason == "stop":
        if isinstance(completion.stop_reason, str):
            return tokens, Finish.STOP, None
        return tokens, Finish.END, tokens.pop() if tokens else None
    raise EngineError(f"vLLM ended with {completion.finish_reason!r}")
