"""Templates, end tokens, prompts, commands and vocabularies of the student; Qwen3's are the real ones."""

import copy
import json

import pytest

from relay_core import ConfigurationError, ScriptedEngine
from relay_core.tokenizer import Tokenizer
from relay_core.train.checks import student
from relay_core.train.checks.findings import Inspection, Level
from relay_core.train.recipe import build


@pytest.fixture
def inspection(tmp_path, qwen3):
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps({"question": f"{i} + 1?", "answer": str(i)}) + "\n" for i in range(20)))
    counts = {"warmup": {"problems": 4}, "filter": {"problems": 4}, "measure": {"problems": 2}}
    made = Inspection(build({**counts, "task": str(file), "relay": {"max_tokens": 100}}), tmp_path, 1)
    made.__dict__.update(student_tokenizer=qwen3, teacher_tokenizer=qwen3, config=None, student_source=str(tmp_path))
    return made


def with_template(qwen3, template):
    hf = copy.copy(qwen3.hf)
    hf.chat_template = template
    return Tokenizer(hf, "other")


def levels(found):
    return [level for level, _ in found]


def test_qwen3_does_not_think(inspection):
    found = list(student.template(inspection))
    assert levels(found) == [Level.OK, Level.OK] and "</think>" in found[0][1]


CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def test_thinking_that_cannot_be_turned_off(inspection, qwen3):
    always = with_template(qwen3, CHAT + "<|im_start|>assistant\n<think>\n")
    inspection.__dict__["student_tokenizer"] = always
    with pytest.raises(ConfigurationError, match="opens <think> in every prompt"):
        list(student.template(inspection))
    inspection.__dict__.update(student_tokenizer=qwen3, teacher_tokenizer=always)
    with pytest.raises(ConfigurationError, match="the teacher's chat template"):
        list(student.template(inspection))


def test_a_template_that_may_think(inspection, qwen3):
    known = with_template(qwen3, "{# strips </think> #}" + CHAT + "<|im_start|>assistant\n")
    inspection.__dict__["student_tokenizer"] = known
    assert levels(student.template(inspection)) == [Level.WARNING, Level.OK, Level.OK]


def test_no_template(inspection, qwen3):
    inspection.__dict__["student_tokenizer"] = with_template(qwen3, None)
    with pytest.raises(ConfigurationError, match="has no chat template"):
        list(student.template(inspection))


def test_end_tokens(inspection, qwen3, tmp_path):
    from transformers import GenerationConfig

    missing, _ = student.end_tokens(inspection)
    assert missing[0] is Level.WARNING and "generation_config.json" in missing[1]
    GenerationConfig(eos_token_id=[151645, 151643]).save_pretrained(tmp_path)
    ((level, text),) = student.end_tokens(inspection)
    assert level is Level.OK and "<|im_end|> 151645" in text and "<|endoftext|> 151643" in text
    wrong = copy.copy(qwen3.hf)
    wrong.eos_token = "<|endoftext|>"
    inspection.__dict__["student_tokenizer"] = Tokenizer(wrong, "wrong")
    GenerationConfig(eos_token_id=151643).save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match="add its id, 151645, to eos_token_id"):
        list(student.end_tokens(inspection))


def test_prompts_and_answers_fit_the_context(inspection, qwen3):
    from transformers import Qwen3Config

    inspection.__dict__["config"] = Qwen3Config(max_position_embeddings=200)
    ((level, text),) = student.prompts(inspection)
    assert level is Level.OK and "in a context of 200" in text
    inspection.__dict__["config"] = Qwen3Config(max_position_embeddings=110)
    ((level, text),) = student.prompts(inspection)
    longest = int(text.split(" has ")[1].split()[0])
    assert level is Level.ERROR and f"write relay.max_tokens: {110 - longest} or less" in text
    inspection.__dict__["config"] = None
    inspection.teacher = ScriptedEngine("x", qwen3, context_length=105)
    found = list(student.prompts(inspection))
    assert levels(found) == [Level.OK, Level.ERROR] and "the teacher's context of 105" in found[1][1]


def test_the_tokens_of_a_command(inspection):
    assert list(student.commands(inspection)) == [(Level.OK, "<call>9</call> takes 7 tokens of the student")]


def test_vocabularies(inspection, tiny):
    assert levels(student.vocabularies(inspection)) == [Level.OK]
    inspection.__dict__["teacher_tokenizer"] = tiny
    ((level, text),) = student.vocabularies(inspection)
    assert level is Level.WARNING and "the vocabularies differ (151,669 and" in text
    inspection.__dict__["teacher_tokenizer"] = None
    assert "its server alone" in next(iter(student.vocabularies(inspection)))[1]


def test_the_tokenizer_of_an_endpoint_is_known_once_it_has_started(tmp_path, qwen3):
    from relay_core import ScriptedEngine
    from relay_core.train.checks.findings import Inspection
    from relay_core.train.recipe import build

    inspection = Inspection(build({"teacher": "openai:m@http://127.0.0.1:9/v1"}), tmp_path, 1)
    assert inspection.teacher_tokenizer is None  # asked by the check of the templates, before the teacher starts
    inspection.started(ScriptedEngine("hi", qwen3))
    assert inspection.teacher_tokenizer is not None
