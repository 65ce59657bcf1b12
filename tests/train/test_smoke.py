"""The smoke models on Qwen3's vocabulary: they end, they call, and all stages run on them."""

import json

import pytest

from relay_core import ConfigurationError, Relay
from relay_core.train import smoke
from relay_core.train.__main__ import main


@pytest.fixture(scope="module")
def made(tmp_path_factory, qwen3_path):
    out = tmp_path_factory.mktemp("smoke")
    return out, smoke.make(out, str(qwen3_path))


def test_the_student_guesses_or_calls_and_the_teacher_knows(made):
    out, _ = made
    with Relay(str(out / "student"), str(out / "teacher")) as relay:
        prompts = [f"Is {n} even or odd? Begin with: It is" for n in range(24)]
        # A seed for each prompt: these models look at the last token alone, so one seed draws the same answer to all.
        answers, alone = (
            [relay.generate(p, temperature=1.0, max_tokens=64, calls=c, seed=n) for n, p in enumerate(prompts)]
            for c in (True, False)
        )
    assert {answer.finish_reason for answer in (*answers, *alone)} == {"stop", "teacher_stop"}
    assert {answer.text for answer in (*answers, *alone)} == {"It is even.", "It is odd."}
    called = [answer for answer in answers if answer.usage.calls]
    assert 3 <= len(called) <= 18 and {answer.text for answer in called} == {"It is even."}
    assert not any(answer.usage.malformed_calls for answer in (*answers, *alone))


def test_it_is_an_ordinary_folder_with_the_real_vocabulary(made):
    out, flags = made
    config = json.loads((out / "student" / "config.json").read_text())
    assert config["vocab_size"] == 151936 and config["tie_word_embeddings"]
    assert json.loads((out / "student" / "generation_config.json").read_text())["eos_token_id"] == [151645]
    rows = [json.loads(line) for line in (out / "problems.jsonl").read_text().splitlines()]
    assert len(rows) == smoke.PROBLEMS and sum(row["answer"] == "It is even." for row in rows) == 48
    for row in rows:
        number = int(row["question"].split()[1])
        assert row["answer"] == ("It is odd." if number % 2 else "It is even.")
    assert flags[::2] == ["--student", "--teacher", "--task"]


def test_another_vocabulary_is_refused(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match="is no single token"):
        smoke.make(tmp_path / "out", str(tmp_path))
    assert smoke.main([str(tmp_path / "out"), "--tokenizer", str(tmp_path)]) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)  # two minutes on an idle machine
def test_all_stages_run_on_it(made, tmp_path, capsys):
    _, flags = made
    assert main(["all", "--recipe", "smoke", *flags, "--out", str(tmp_path / "run"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["methods"]) == {"teacher", "student-base", "student-warm", "student-relay", "relay"}
    rollouts = [json.loads(line) for line in (tmp_path / "run" / "grpo" / "rollouts.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rollouts] == [0, 2, 4]
    assert sum(row["calls"] for row in rollouts) > 0 and 0 < sum(row["accuracy"] for row in rollouts) < 3
    ends = json.loads((tmp_path / "run" / "student-relay" / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [151645]
