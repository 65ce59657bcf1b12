"""ScriptedEngine plays its script exactly."""

import asyncio

import pytest

from relay_core import ConfigurationError, ContextOverflow, EngineError, Finish, Prompt, Relay, Sampling, ScriptedEngine
from relay_core.engines.base import Chunk
from relay_core.engines.scripted import Delay
from relay_core.tokenizer import Tokenizer


async def chunks(engine: ScriptedEngine, turn: int = 0, max_tokens: int = 100, **sampling) -> list[Chunk]:
    prompt = Prompt("Q", token_ids=(1, 2, 3), turn=turn)
    return [chunk async for chunk in engine.stream(prompt, Sampling(max_tokens, **sampling))]


def text_of(played: list[Chunk]) -> str:
    return "".join(token.text for chunk in played for token in chunk.tokens)


async def test_text_is_encoded_and_delivered_token_by_token(qwen3: Tokenizer) -> None:
    played = await chunks(ScriptedEngine("so 😀 <call>3</call>", qwen3, logprob=-0.25))
    tokens = [token for chunk in played for token in chunk.tokens]
    assert [t.id for t in tokens] == qwen3.encode("so 😀 <call>3</call>")
    assert text_of(played) == "so 😀 <call>3</call>"
    assert {t.logprob for t in tokens} == {-0.25}
    assert all(len(chunk.tokens) == 1 for chunk in played[:-1])
    last = played[-1]
    assert (last.finish, last.end_token.id) == (Finish.END, qwen3.hf.eos_token_id)
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, len(tokens) + 1)
    assert last.usage.cached_tokens is None


async def test_a_turn_for_every_request_of_an_answer(qwen3: Tokenizer) -> None:
    engine = ScriptedEngine(["one", [qwen3.encode("two")[0]]], qwen3)
    assert [text_of(await chunks(engine, turn)) for turn in range(3)] == ["one", "two", ""]
    answer = ScriptedEngine(lambda prompt: f"turn {prompt.turn}", qwen3)
    assert text_of(await chunks(answer, 7)) == "turn 7"


async def test_pauses_failures_and_other_ends(qwen3: Tokenizer) -> None:
    engine = ScriptedEngine(
        [["a", Delay(0.0), " b", Finish.LENGTH, " c"], [" d", EngineError("broken")]], qwen3, chunk=9
    )
    played = await chunks(engine)
    assert [[t.text for t in chunk.tokens] for chunk in played] == [["a"], [" b"], []]
    assert (played[-1].finish, played[-1].end_token) == (Finish.LENGTH, None)
    with pytest.raises(EngineError, match="broken"):
        await chunks(engine, turn=1)
    assert engine.active == 0


@pytest.mark.parametrize("chunk", [1, 2, 100])
async def test_max_tokens_is_kept(qwen3: Tokenizer, chunk: int) -> None:
    played = await chunks(ScriptedEngine("a b c d e", qwen3, chunk=chunk), max_tokens=3)
    assert text_of(played) == "a b c"
    assert (played[-1].finish, played[-1].usage.completion_tokens) == (Finish.LENGTH, 3)


@pytest.mark.parametrize(("chunk", "pieces"), [(1, ["a", "b", "c"]), (2, ["ab", "c"]), (9, ["abc"])])
async def test_without_ids_each_character_counts_as_a_token(chunk: int, pieces: list[str]) -> None:
    engine = ScriptedEngine("abcde", None, chunk=chunk)
    played = await chunks(engine, max_tokens=3)
    assert [t.text for c in played for t in c.tokens] == pieces
    assert played[-1].usage.completion_tokens == 3
    assert (engine.speaks_ids, engine.tokenizer) == (False, None)
    with pytest.raises(ConfigurationError, match="needs a tokenizer"):
        await chunks(ScriptedEngine([[7]], None))


async def test_stop_strings_are_honoured_where_asked(qwen3: Tokenizer) -> None:
    text = "a <call>3</call>\n\nmore"
    stop = ("</call>",)
    assert text_of(await chunks(ScriptedEngine(text, qwen3), stop=stop)) == text
    played = await chunks(ScriptedEngine(text, qwen3, honour_stop=True), stop=stop)
    assert text_of(played) == "a <call>3</call>\n\n", "the token that completes it is delivered whole"
    assert played[-1].finish is Finish.STOP


async def test_the_context_is_kept(qwen3: Tokenizer) -> None:
    with pytest.raises(ContextOverflow, match="3 tokens, the context is 3"):
        await chunks(ScriptedEngine("a", qwen3, context_length=3))
    played = await chunks(ScriptedEngine("a b c", qwen3, context_length=5))
    assert (text_of(played), played[-1].finish) == ("a b", Finish.LENGTH)


async def test_closing_a_stream_ends_it(qwen3: Tokenizer) -> None:
    engine = ScriptedEngine([["a", Delay(3600)]], qwen3, record=True)
    stream = engine.stream(Prompt("Q"), Sampling(5))
    assert (await anext(stream)).tokens[0].text == "a"
    assert engine.active == 1
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await stream.aclose()
    assert engine.active == 0
    assert [(p.text, s.max_tokens) for p, s in engine.requests] == [("Q", 5)]


def test_bad_arguments() -> None:
    with pytest.raises(ConfigurationError, match="chunk is 0"):
        ScriptedEngine("a", None, chunk=0)


def test_a_folder_names_its_tokenizer(qwen3_path, qwen3: Tokenizer) -> None:
    assert ScriptedEngine("a", qwen3_path).tokenizer.shares_vocabulary(qwen3)
    assert ScriptedEngine("a", qwen3.hf).tokenizer.shares_vocabulary(qwen3)


def test_the_example_in_its_documentation(qwen3: Tokenizer) -> None:
    student = ScriptedEngine([["47 * 6 = <call>3</call>"], [". Done."]], qwen3)
    assert Relay(student, ScriptedEngine("282", qwen3)).generate("47 * 6?").text == "47 * 6 = 282. Done."
