"""Text under a constraint: always valid, also sampled; and nothing but the mask is changed."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import sys
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from relay_core import Relay, bundled
from relay_core.constraint import Constraint
from relay_core.engines.base import Chunk, Finish, Prompt, Sampling, Warming
from relay_core.engines.transformers import TransformersEngine, grammars
from relay_core.engines.transformers.grammars import Grammar, Grammars
from relay_core.errors import ConfigurationError, EngineError, MissingExtraError
from relay_core.tokenizer import Tokenizer
from relay_core.tool_parser import parse_answer
from relay_core.tools import offer
from testing.streams import text_of
from testing.tiny_transformers import PROMPTS, collect, generate, logprobs_of, make_model

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 9},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "ç"]}, "maxItems": 4},
        "home": {
            "type": "object",
            "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}, "owned": {"type": "boolean"}},
            "required": ["zip"],
        },
    },
    "required": ["name", "age", "home"],
}
TREE = {
    "$defs": {"node": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/pair"}]},
              "pair": {"type": "object", "properties": {"left": {"$ref": "#/$defs/leaf"}}, "required": ["left"]},
              "leaf": {"oneOf": [{"const": 1}, {"const": "two"}]}},
    "type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 2, "maxItems": 3,
}  # fmt: skip
UNION = {"anyOf": [{"type": "string", "format": "date"}, {"type": "integer", "exclusiveMinimum": 5, "maximum": 7}]}
ITEMS = {"type": "object", "properties": {"item": {"enum": ["tea", "käse"]}}, "required": ["item"]}
TOOLS: list[dict[str, Any]] = [
    {"name": "price", "parameters": ITEMS},
    {"name": 'no"w', "parameters": {"type": "object", "properties": {"n": {"enum": [1, 22]}}}},
]  # fmt: skip


@pytest.fixture(scope="module")
def real(qwen3: Tokenizer) -> Iterator[TransformersEngine]:
    """A random model with Qwen3's vocabulary, whose embedding is padded as Qwen3's is."""
    engine = TransformersEngine(make_model(vocab_size=151_936, eos_token_id=151_645), qwen3)
    yield engine
    asyncio.run(engine.aclose())


async def texts(engine: TransformersEngine, n: int, max_tokens: int = 200, **sampling: Any) -> list[tuple[str, Chunk]]:
    """``n`` samples at once, at temperature 1, each with its own seed."""
    sampling = {"temperature": 1.0, **sampling}
    results = await asyncio.gather(
        *[collect(engine, [*PROMPTS[0], i], max_tokens, **{"seed": i, **sampling}) for i in range(n)]
    )
    return [(text_of(tokens), chunk) for _, chunk, tokens in results]


# -- what is written follows the constraint --------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [PERSON, TREE, UNION], ids=["person", "tree", "union"])
async def test_every_answer_follows_its_schema(real: TransformersEngine, schema: dict[str, Any]) -> None:
    for text, chunk in await texts(real, 16, json_schema=schema):
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)
        assert "\ufffd" not in text
        assert chunk.finish is Finish.END


async def test_objects_hold_only_what_their_schema_names(real: TransformersEngine) -> None:
    names = {"name", "age", "tags", "home"}
    assert all(json.loads(text).keys() <= names for text, _ in await texts(real, 4, json_schema=PERSON))


async def test_a_regular_expression_is_matched_from_end_to_end(real: TransformersEngine) -> None:
    pattern = r"^(\d{3}-[a-zé]{2,5}|€ \d+\.\d\d)$"
    for text, _ in await texts(real, 30, regex=pattern, max_tokens=400):
        assert re.fullmatch(pattern, text, re.ASCII)


async def test_one_of_the_choices_is_written(real: TransformersEngine) -> None:
    choices = ("yes", "yes, sir", "no", '"\n\\', "naïve 🙂")
    written = {text for text, _ in await texts(real, 30, choice=choices)}
    assert written <= {*choices}
    assert len(written) > 1


async def test_control_tokens_in_a_constraint_are_written_as_text(real: TransformersEngine) -> None:
    written = ("</tool_call>", "a<|im_end|>", "<think>b")
    assert {text for text, _ in await texts(real, 12, choice=written)} <= {*written}
    assert {json.loads(text) for text, _ in await texts(real, 12, json_schema={"enum": [*written]})} <= {*written}
    [(text, _)] = await texts(real, 1, regex="<think>b{2}</think>")
    assert text == "<think>bb</think>"


@pytest.mark.parametrize("choice", ["price", 'no"w', "any"])
async def test_a_forced_tool_call_is_valid(real: TransformersEngine, choice: str) -> None:
    offered = offer(TOOLS, choice)
    assert offered.constraint is not None
    for text, chunk in await texts(real, 16, **offered.constraint.fields("")):
        parsed = parse_answer(offered.prefix + text)
        assert (parsed.content, parsed.invalid_tool_calls) == ("", [])
        [call] = parsed.tool_calls
        [tool] = [tool for tool in TOOLS if tool["name"] == call.name]
        assert choice in ("any", call.name)
        jsonschema.validate(call.arguments, tool["parameters"])
        assert text.endswith("}\n</tool_call>")
        assert chunk.finish is Finish.END


def sentencepiece(*, with_bytes: bool) -> Tokenizer:
    """A vocabulary in the manner of sentencepiece; without bytes, llguidance cannot read it by itself."""
    raw = RawTokenizer(models.BPE(byte_fallback=with_bytes, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    known = ["<unk>", *[f"<0x{b:02X}>" for b in range(256 if with_bytes else 0)]]
    alphabet = [*'abcdefghijklmnopqrstuvwxyz0123456789{}[]":,-']
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=known, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(["the tea costs seven euros and the cheese costs ten"] * 9, trainer)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence(parts) if with_bytes else decoders.Metaspace()
    tokens = json.loads(raw.to_str())
    tokens["added_tokens"] = [t for t in tokens["added_tokens"] if not t["content"].startswith("<0x")]
    raw = RawTokenizer.from_str(json.dumps(tokens))
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>"), "pieces")


@pytest.mark.parametrize("with_bytes", [True, False])
async def test_vocabularies_of_pieces(with_bytes: bool) -> None:
    tokenizer = sentencepiece(with_bytes=with_bytes)
    engine = TransformersEngine(make_model(vocab_size=max(tokenizer.vocabulary.values()) + 9), tokenizer)
    choices = ("the tea", "é 🙂") if with_bytes else ("the tea", "cheese costs ten")
    schema = {"type": "object", "properties": {"tea": {"enum": [*choices]}}, "required": ["tea"]}
    try:
        written = {json.loads(text)["tea"] for text, _ in await texts(engine, 20, json_schema=schema)}
    finally:
        await engine.aclose()
    assert written == {*choices}


# -- how it is sampled -----------------------------------------------------------------------------------------------


async def test_greedy_takes_the_likeliest_token_that_the_constraint_allows(
    engine: TransformersEngine, model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
    choices = ("Anna has", "Anna gives 5", "Ben 🙂", "café")
    ids, chunk, tokens = await collect(engine, PROMPTS[1], choice=choices)
    table = tokenizer.token_bytes
    assert table is not None
    expected: list[int] = []
    while (written := b"".join(table[i] for i in expected)).decode(errors="replace") not in choices:
        logits = logprobs_of(model, PROMPTS[1], [*expected, 0])[-1]
        leads_on = [any(c.encode().startswith(written + t) for c in choices) and bool(t) for t in table[:300]]
        expected.append(int(logits.masked_fill(~torch.tensor(leads_on), -torch.inf).argmax()))
    assert ids == expected
    assert (chunk.finish, chunk.end_token) == (Finish.END, None)
    reference = logprobs_of(model, PROMPTS[1], ids)
    for i, token in enumerate(tokens):  # of the distribution before the mask, as without a constraint
        assert token.logprob == pytest.approx(float(reference[i, ids[i]]), abs=1e-4)


async def test_top_k_and_temperature_work_on_what_the_constraint_allows(engine: TransformersEngine) -> None:
    greedy = [text for text, _ in await texts(engine, 4, regex="[a-z]{6}", temperature=0.0)]
    only_best = [text for text, _ in await texts(engine, 4, regex="[a-z]{6}", temperature=5.0, top_k=1)]
    narrow = [text for text, _ in await texts(engine, 4, regex="[a-z]{6}", temperature=5.0, top_p=1e-6)]
    assert greedy == only_best == narrow
    seeded = [await texts(engine, 1, regex="[a-z]{6}", seed=3) for _ in range(2)]
    assert seeded[0][0][0] == seeded[1][0][0]


async def test_requests_without_a_constraint_are_untouched_in_a_shared_batch(
    engine: TransformersEngine, model: Qwen3ForCausalLM
) -> None:
    held = [collect(engine, ids, 40, temperature=1.0, regex="[0-9]{20,30}") for ids in PROMPTS for _ in range(2)]
    free = [collect(engine, ids) for ids in PROMPTS]
    results = await asyncio.gather(*held, *free)
    assert all(re.fullmatch("[0-9]{20,30}", text_of(tokens)) for _, _, tokens in results[: len(held)])
    assert [ids for ids, _, _ in results[len(held) :]] == [generate(model, ids) for ids in PROMPTS]


async def test_the_end_token_is_allowed_only_where_the_text_may_end(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
    own = copy.deepcopy(model)
    letters = [i for i in range(300) if tokenizer.decode([i]).isalpha()][:40]  # a free text would soon end
    own.generation_config.eos_token_id = letters
    engine = TransformersEngine(own, tokenizer)
    try:
        results = await texts(engine, 30, regex="[0-9]{3,5}")
    finally:
        await engine.aclose()
    assert all(re.fullmatch("[0-9]{3,5}", text) and chunk.finish is Finish.END for text, chunk in results)
    ended = {len(text): chunk.end_token for text, chunk in results}
    assert ended[3] is not None
    assert ended[3].id in letters
    assert ended[5] is None  # nothing else can follow, so no end token is waited for


async def test_a_text_that_is_cut_by_the_limit_says_so(engine: TransformersEngine) -> None:
    [(text, chunk)] = await texts(engine, 1, max_tokens=4, regex="[a-z]{200}")
    assert chunk.finish is Finish.LENGTH
    assert re.fullmatch("[a-z]+", text)


async def test_two_models_of_different_vocabularies_write_one_valid_text(real: TransformersEngine) -> None:
    student = TransformersEngine(bundled.path("student-relay"))
    relay = Relay(student, real)
    try:
        results = await relay.abatch(
            ["Hi"] * 12,
            constraint=Constraint.json_schema(PERSON),
            trigger="chance:0.2,3",
            temperature=1.0,
            warming="off",
        )
    finally:
        await student.aclose()
    for result in results:
        jsonschema.validate(json.loads(result.text), PERSON)
    assert all(sum(getattr(r.usage, f"{side}_tokens") for r in results) > 50 for side in ("student", "teacher"))


async def test_a_call_that_opens_in_a_character_waits_for_its_end() -> None:
    """Before, the stream ended within the character. The next request's grammar did not know of the bytes that were
    there, and allowed any others after them, which gave characters that the constraint forbids."""
    engine = TransformersEngine(bundled.path("student-relay"))  # its vocabulary has no token for such a character
    nine = Constraint.regex("[一-鿿]{9}")
    try:
        results = await Relay(engine, engine).abatch(
            ["Hi"] * 6, constraint=nine, trigger="chance:0.3,4", temperature=1.0, seed=0, max_calls=None, warming="off"
        )
    finally:
        await engine.aclose()
    assert [result.text for result in results if not re.fullmatch("[一-鿿]{9}", result.text)] == []
    assert sum(len(result.calls) for result in results) > 12


# -- the life of a request -------------------------------------------------------------------------------------------


async def test_a_constraint_may_begin_in_the_prompt(engine: TransformersEngine) -> None:
    begun = '{"name": "Ünï'
    for text, _ in await texts(engine, 8, json_schema=PERSON, begun=begun):
        jsonschema.validate(json.loads(begun + text), PERSON)
    [(text, chunk)] = await texts(engine, 1, choice=("ja", "nein"), begun="nein")
    assert (text, chunk.finish, chunk.end_token) == ("", Finish.END, None)
    with pytest.raises(EngineError, match="does not follow the constraint"):
        await texts(engine, 1, choice=("ja", "nein"), begun="nie")


@pytest.mark.parametrize(
    ("sampling", "reason"),
    [
        ({"json_schema": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"json_schema": {"not": {"type": "string"}}}, "not"),
        ({"json_schema": {"type": "strin"}}, "strin"),
        ({"json_schema": {"$ref": "#/nowhere"}}, "nowhere"),
        ({"json_schema": {"allOf": [{"type": "string"}, {"type": "integer"}]}}, "[Uu]nsatisfiable"),
        ({"regex": "["}, "regex"),
        ({"regex": r"(a)\1"}, "regex"),
    ],
)
async def test_what_cannot_be_taken_is_refused_before_anything_is_generated(
    engine: TransformersEngine, sampling: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.start()
    monkeypatch.setattr(engine, "_enter", lambda request: pytest.fail("a request was made"))
    constraint = Constraint.of(Sampling(9, **sampling))
    assert constraint is not None
    with pytest.raises(ConfigurationError, match=reason):
        await engine.check_constraint(constraint)
    with pytest.raises(ConfigurationError, match=reason):
        await collect(engine, PROMPTS[0], 9, **sampling)


async def test_a_tool_is_held_to_what_of_its_schema_can_be_taken_unless_it_is_strict(
    real: TransformersEngine, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "maxItems": 2}
    tool = {"name": "add", "parameters": {"type": "object", "properties": {"of": numbers}, "required": ["of"]}}
    lenient, strict = offer([tool], "add").constraint, offer([{**tool, "strict": True}], "add").constraint
    assert lenient is not None
    assert strict is not None
    [(text, _)] = await texts(real, 1, **lenient.fields(""))
    assert len(json.loads(text.split("\n")[0][:-1])["of"]) <= 2
    assert "uniqueItems" in caplog.text
    with pytest.raises(ConfigurationError, match="uniqueItems"):
        await real.check_constraint(strict)


async def test_a_stream_that_is_closed_in_the_midst_leaves_the_others_alone(engine: TransformersEngine) -> None:
    stream = engine.stream(Prompt("", PROMPTS[0]), Sampling(100, 1.0, regex="[a-z]{90}"))
    other = asyncio.ensure_future(texts(engine, 2, regex="[a-z]{30}"))
    async with aclosing(stream):
        async for chunk in stream:
            assert chunk.tokens
            break
    assert all(re.fullmatch("[a-z]{30}", text) for text, _ in await other)


async def test_a_grammar_that_fails_ends_its_own_request_only(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Grammars.begin

    def begin_failing(self: Grammars, constraint: Constraint, begun: str) -> Grammar:
        grammar = begin(self, constraint, begun)
        if constraint.value == "[b]{20}":
            grammar.matcher.consume_token(40_000)  # an error that the matcher keeps
        return grammar

    monkeypatch.setattr(Grammars, "begin", begin_failing)
    failing, going = texts(engine, 1, regex="[b]{20}"), texts(engine, 3, regex="[a-z]{30}")
    failed, went = await asyncio.gather(failing, going, return_exceptions=True)
    assert isinstance(failed, EngineError)
    assert "the constraint cannot be followed" in str(failed)
    assert not isinstance(went, BaseException)
    assert all(re.fullmatch("[a-z]{30}", text) for text, _ in went)


async def test_a_token_that_the_grammar_refuses_ends_the_request(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, count = Grammar.accept, 0

    def refuse_the_third(self: Grammar, token_id: int) -> None:
        nonlocal count
        count += 1
        accept(self, 40_000 if count == 3 else token_id)

    monkeypatch.setattr(Grammar, "accept", refuse_the_third)
    with pytest.raises(EngineError, match="the constraint cannot be followed"):
        await texts(engine, 1, regex="[a-z]{30}")


async def test_new_weights_leave_a_request_at_its_place(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    try:
        written, chunks = [], engine.stream(Prompt("", PROMPTS[0]), Sampling(150, 1.0, regex="[a-z]{100}[0-9]{3}"))
        async with aclosing(chunks):
            async for chunk in chunks:
                written += chunk.tokens
                if len(written) in range(5, 30):
                    await asyncio.to_thread(engine.weights_changed)
    finally:
        await engine.aclose()
    assert re.fullmatch("[a-z]{100}[0-9]{3}", text_of(written))


async def test_a_warmed_stream_is_cut_and_stays_within_its_grammar(engine: TransformersEngine) -> None:
    warming, written = Warming(), []
    stream = engine.warm_stream(Prompt("", PROMPTS[0]), Sampling(60, 1.0, regex="[a-z]{59}"), warming)
    warming.want(7)
    async with aclosing(stream):
        async for chunk in stream:
            written += chunk.tokens
    assert len(written) == 7
    assert re.fullmatch("[a-z]+", text_of(written))
    assert chunk.finish is Finish.LENGTH


# -- what it costs, and where it is missing --------------------------------------------------------------------------


async def test_requests_without_a_constraint_load_and_begin_nothing(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    try:
        await collect(engine, PROMPTS[0], 8)
        assert engine._manager is not None
        assert engine._manager._masks._thread is None
        assert engine._grammars._vocabulary is None
    finally:
        await engine.aclose()


def test_a_grammar_is_compiled_once_and_the_oldest_are_dropped(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammars, "CACHED_GRAMMARS", 2)
    cache = Grammars(tokenizer, 300, frozenset())
    first = cache.compile(Constraint.choice("a", "b"))
    assert cache.compile(Constraint.choice("a", "b"))[1] is first[1]
    for text in "cd":
        cache.compile(Constraint.choice(text))
    assert len(cache._compiled) == 2
    assert cache.compile(Constraint.choice("a", "b"))[1] is not first[1]


def test_without_llguidance_the_error_says_what_to_install(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match="llguidance"):
        Grammars(tokenizer, 300, frozenset()).begin(Constraint.choice("a"), "")
