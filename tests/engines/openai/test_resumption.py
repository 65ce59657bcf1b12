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
    assert (taken.tokens, taken.finish, taken.ending) == (tokens(7, 8), None, Finish.LENGTH), "the usage may follow"
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


def written(endpoint: Endpoint, texts: list[str], usage: EngineUsage | None, max_tokens: int) -> tuple[str, Chunk]:
    """What is taken of texts that come one by one, with this usage in each chunk."""
    progress, text, taken = StreamProgress(endpoint, PROMPT, Sampling(max_tokens)), "", Chunk()
    for each in texts:
        taken = progress.take(Chunk((Token(None, each),), usage=usage), {})
        text += "".join(token.text for token in taken.tokens)
        if taken.ending is not None:
            break
    return text, Chunk(taken.tokens, ending=taken.ending, usage=progress.usage(usage))


def test_a_budget_holds_by_the_larger_of_what_is_reported_and_what_is_counted() -> None:
    plain = Endpoint(Dialect(Mode.CHAT))
    for endpoint in (TEXT, plain):
        for count in (0, 1, None):
            text, last = written(endpoint, ["word "] * 100, EngineUsage(3, None, count), 60)
            assert text == "word " * 60
            assert last.ending is Finish.LENGTH
            assert last.usage == EngineUsage(3, None, 60)
    text, last = written(plain, ["x" * 10_000], EngineUsage(3, None, 1), 60)
    assert (len(text), last.usage) == (10_000, EngineUsage(3, None, 40)), "256 characters are at least a token"
    text, last = written(plain, ["x" * 100_000], EngineUsage(3, None, 1), 60)
    assert (len(text), last.usage) == (60 * 256, EngineUsage(3, None, 60))
    text, last = written(plain, ["a", "b"], EngineUsage(3, None, 10**6), 60)
    assert last.usage == EngineUsage(3, None, 60), "never more than was requested"


def test_the_text_of_a_parsed_tool_call_is_not_cut_by_tokens_and_stop_strings() -> None:
    progress = StreamProgress(Endpoint(Dialect(Mode.CHAT)), PROMPT, Sampling(4, stop=("</call>", "name")))
    text = '<tool_call>{"name": "a", "arguments": {"b": "' + "\\u003c/call>" * 20 + '"}}</tool_call>'
    taken = progress.take(Chunk((Token(None, text, None, True),), Finish.END), {})
    assert (taken.tokens[0].text, taken.finish) == (text, Finish.END)
    taken = progress.take(Chunk((Token(None, "na"), Token(None, "me")), Finish.END), {})
    assert taken.finish is Finish.STOP


def test_an_answer_in_plain_chat_cannot_be_resumed() -> None:
    for mode in Mode:
        progress = StreamProgress(Endpoint(Dialect(mode)), PROMPT, Sampling(9))
        assert progress.can_resume, "nothing has come"
        progress.take(Chunk((Token(None, "a"),)), {})
        assert progress.can_resume is (mode is not Mode.CHAT)
