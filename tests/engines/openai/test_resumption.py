"""The tokens of a stream over several responses, and the request for the rest, without a network."""

from __future__ import annotations

from relay_core.engines.base import Chunk, EngineUsage, Finish, Prompt, Sampling, Token
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.protocol import RUNNING_USAGE, Dialect, Mode
from relay_core.engines.openai.resumption import StreamProgress

PROMPT = Prompt("Hi", [1, 2, 3])
IDS = Endpoint(Dialect(Mode.IDS))
TEXT = Endpoint(Dialect(Mode.COMPLETIONS, stream_options=RUNNING_USAGE))


def tokens(*ids: int) -> tuple[Token, ...]:
    return tuple(Token(i, f"<{i}>") for i in ids)


def test_the_request_for_the_rest_holds_the_tokens_so_far() -> None:
    progress = StreamProgress(IDS, PROMPT, Sampling(5))
    assert not progress.was_sent
    progress.begin_request("m", logprobs=False, tokens_per_event=1)
    assert progress.was_sent
    progress.take(Chunk(tokens(7, 8)), {})
    progress.broken_responses += 1
    body = progress.begin_request("m", logprobs=True, tokens_per_event=4)
    assert (body["prompt"], body["max_tokens"]) == ([1, 2, 3, 7, 8], 3)
    assert (body["logprobs"], body["stream_interval"]) == (0, 4)
    last = progress.take(Chunk(tokens(9), Finish.END, Token(0, ""), EngineUsage(5, 4, 2)), {"resumed": 1})
    assert last.usage == EngineUsage(5 + 3, 4, 3), "the broken response had read the prompt too"
    assert last.notes == {"resumed": 1}


def test_tokens_are_cut_at_the_limit_and_at_a_stop_string() -> None:
    taken = StreamProgress(IDS, PROMPT, Sampling(2)).take(Chunk(tokens(7, 8, 9)), {})
    assert (taken.tokens, taken.finish) == (tokens(7, 8), Finish.LENGTH)
    taken = StreamProgress(IDS, PROMPT, Sampling(5, stop=("><",))).take(Chunk(tokens(7, 8, 9)), {})
    assert (taken.tokens, taken.finish) == (tokens(7, 8), Finish.STOP)
    taken = StreamProgress(IDS, PROMPT, Sampling(2)).take(Chunk(tokens(7, 8), Finish.END), {})
    assert taken.finish is Finish.END, "the model ended at the limit by itself"


def test_the_servers_count_is_taken_where_it_can_be_right() -> None:
    for reported, count in ((5, 5), (0, 1), (99, 1)):
        progress = StreamProgress(TEXT, PROMPT, Sampling(9), warmed=True)
        taken = progress.take(Chunk((Token(None, "some words"),), usage=EngineUsage(3, None, reported)), {})
        assert taken.finish is None
        assert progress.begin_request("m", logprobs=True, tokens_per_event=4)["max_tokens"] == 9 - count
