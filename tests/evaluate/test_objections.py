"""What a teacher objects to, token by token: on texts made up here, and by the bundled pair."""

import asyncio
import json

import pytest

from relay_core import ConfigurationError, RelaySettings, ScriptedEngine, Wrapped, engine_from_spec
from relay_core.engines.transformers import TransformersEngine
from relay_core.evaluate.objections import Objector, aligned, reader
from relay_core.evaluate.prompts import read_prompts
from relay_core.evaluate.store import Journal
from testing.tasks import problem
from testing.tiny_transformers import make_model, make_tokenizer


@pytest.mark.parametrize(
    ("texts", "others", "values", "sums"),
    [
        (["ab", "c"], ["ab", "c"], [1, 2], [1, 2]),
        (["abc", "d"], ["a", "b", "c", "d"], [1, 2, 4, 8], [7, 8]),
        (["a", "b", "cd"], ["abc", "d"], [1, 2], [1, 0, 2]),
        (["", "", "😀", "x"], ["😀", "x"], [1, 2], [1, 0, 0, 2]),  # it begins in the first of three tokens
        (["😀", "x"], ["", "", "😀", "x"], [1, 2, 4, 8], [7, 8]),
        (["", "é!", "x"], ["é", "!x"], [1, 2], [1, 2, 0]),
        (["a", ""], ["a"], [3], [3, 0]),  # the end token adds no text
        (["a"], ["a", ""], [3, 9], [3]),
        (["a"], ["b"], [1], None),
    ],
)
def test_values_are_added_up_where_the_others_tokens_begin(texts, others, values, sums) -> None:
    assert aligned(texts, others, values) == sums


def test_an_engine_that_cannot_read_is_refused() -> None:
    engine = TransformersEngine(make_model(), make_tokenizer())
    assert reader(engine, "student") is engine
    for other in (
        ScriptedEngine("x"),
        Wrapped(engine),
        engine_from_spec("openai:m@http://localhost:1/v1", role="teacher"),
    ):
        with pytest.raises(
            ConfigurationError, match=r"cannot: write a teacher in this process.*--teacher transformers:"
        ):
            reader(other, "teacher")


async def test_a_teacher_objects_to_what_it_would_not_write_and_is_asked_once(tmp_path) -> None:
    problems = read_prompts("bundled", sample=6).problems
    student, teacher = (engine_from_spec(f"bundled:{name}") for name in ("student-base", "teacher"))
    settings = RelaySettings()
    try:
        objector = Objector(student, teacher, settings, Journal(tmp_path / "o.jsonl"))
        kept = await asyncio.gather(*map(objector.to, problems))
        itself = await asyncio.gather(*map(Objector(teacher, teacher, settings, None).to, problems[:2]))
    finally:
        await student.aclose()
        await teacher.aclose()
    for own in itself:
        assert max(own.nats) < 1e-3, "greedy, a model objects to none of its own tokens, nor to its end token"
    for o in kept:
        assert len(o.ids) == len(o.nats) > 20 and not o.left_out
        assert min(o.nats) >= -1e-3
    assert max(max(o.nats) for o in kept) > 3
    rows = (tmp_path / "o.jsonl").read_text()
    closed = Objector(student, teacher, settings, Journal(tmp_path / "o.jsonl"))
    closed._student = closed._teacher = None  # type: ignore[assignment]  # nothing is asked
    closed.key = objector.key  # type: ignore[method-assign]
    assert [await closed.to(p) for p in problems] == kept and (tmp_path / "o.jsonl").read_text() == rows
    assert sorted(json.loads(row)["id"] for row in rows.splitlines()) == sorted(p.id for p in problems)
    sampled = Objector(student, teacher, RelaySettings(temperature=0.7), None)
    assert sampled.key(problems[0]) != objector.key(problems[0]) != objector.key(problems[1])


async def test_a_teacher_with_another_vocabulary_reads_the_same_text(tmp_path) -> None:
    """Two random models, so only the sums can be checked: all that the teacher objects to is given to some token."""
    student_words, teacher_words = engine_from_spec("bundled:student-base").tokenizer, make_tokenizer()
    for tokenizer in (student_words, teacher_words):
        tokenizer.hf.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    size = len(student_words.hf)
    student = TransformersEngine(make_model(vocab_size=size), student_words)
    teacher = TransformersEngine(make_model(seed=1), teacher_words)
    try:
        o = await Objector(student, teacher, RelaySettings(max_tokens=30), None).to(problem("Hi", None))
        text = student_words.decode(o.ids)
        ids = teacher_words.encode(text)
        reading = await teacher.read(teacher_words.encode("Hi", begins=True), ids)
    finally:
        await student.aclose()
        await teacher.aclose()
    assert len(o.nats) == 30 != len(ids)
    assert sum(o.nats) == pytest.approx(float((reading.top_logprobs - reading.logprobs).sum()), abs=0.01)
