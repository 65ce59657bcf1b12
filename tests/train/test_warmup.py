import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import ConfigurationError
from relay_core.command import Call, CommandScanner, Malformed, Text
from relay_core.train.__main__ import main
from relay_core.train.sampling import Sample
from relay_core.train.sections import Warmup
from relay_core.train.supervised import IGNORED, trainer_values
from relay_core.train.warmup import draw_n, rows, with_commands

TEXT = "We know that a cup costs 47 coins. So we multiply: 47 * 6 = 282."


def commands(text):
    scanner = CommandScanner()
    return [piece for piece in [*scanner.feed(text), *scanner.flush()] if not isinstance(piece, Text)]


@given(st.integers(0, 10**6), st.sampled_from([(0,), (0, 1), (0, 1, 2, 3)]))
def test_fault_10_never_a_command_without_a_number(qwen3, seed, powers):
    ids = qwen3.encode(TEXT)
    out = with_commands(ids, random.Random(seed), qwen3.encode, powers=powers)
    found = commands(qwen3.decode(out))
    assert not any(isinstance(piece, Malformed) for piece in found)
    assert len(found) <= 3
    for call in found:
        assert isinstance(call, Call)
        digit, zeros = int(str(call.n)[0]), len(str(call.n)) - 1
        assert call.n == digit * 10**zeros and digit >= 1 and zeros in powers


@given(st.integers(0, 10**6))
def test_the_students_own_tokens_stay_as_they_were(qwen3, seed):
    ids = qwen3.encode(TEXT)
    out = iter(with_commands(ids, random.Random(seed), qwen3.encode))
    assert all(any(token == other for other in out) for token in ids)  # in order, none lost
    assert with_commands(ids, random.Random(seed), qwen3.encode)[-1] == ids[-1]


def test_every_number_of_commands_and_every_place_is_drawn(qwen3):
    ids, rng = qwen3.encode(TEXT), random.Random(0)
    drawn = [with_commands(ids, rng, qwen3.encode) for _ in range(600)]
    assert {len(commands(qwen3.decode(out))) for out in drawn} == {0, 1, 2, 3}
    starts = {next(i for i, (a, b) in enumerate(zip(ids, out, strict=False)) if a != b) for out in drawn if out != ids}
    assert len(starts) > len(ids) // 2
    assert {draw_n(rng, (0, 1)) for _ in range(600)} == {*range(1, 10), *range(10, 100, 10)}


def test_loss_falls_on_the_answer_and_its_commands_only():
    samples = [Sample((1, 2, 3), (4, 5, 6))] * 20
    data = rows(samples, lambda text: [70, 71], Warmup(), seed=0)
    for row in data:
        assert row["input_ids"][:3] == [1, 2, 3] and row["labels"][:3] == [IGNORED] * 3
        assert row["labels"][3:] == row["input_ids"][3:]
        assert [i for i in row["input_ids"] if i < 70] == [1, 2, 3, 4, 5, 6]
    assert any(70 in row["input_ids"] for row in data)
    assert data == rows(samples, lambda text: [70, 71], Warmup(), seed=0)
    assert data != rows(samples, lambda text: [70, 71], Warmup(), seed=1)
    assert rows(samples, lambda text: [70, 71], Warmup(draws=2), seed=0)[:20] == data


def test_the_stage_with_calls_where_the_teacher_objects(tmp_path, capsys):
    command = [
        "warmup", "--warmup", "guided", "--warmup.prune", "true", "--warmup.problems", "16",
        "--warmup.temperature", "0.5",
        "--warmup.trainer.learning_rate", "1e-3", "--warmup.blocked_problems", "6", "--out", str(tmp_path), "--json",
    ]  # fmt: skip
    assert main(command) == 0
    first = capsys.readouterr()
    printed = json.loads(first.out)
    folder = tmp_path / "warmup"
    blocked = json.loads((folder / "blocked.json").read_text())
    assert printed == {"student": str(tmp_path / "student-warm"), "blocked": blocked}
    assert blocked["cost"] == blocked["before"]["accuracy"] - blocked["after"]["accuracy"] and blocked["problems"] == 6
    assert "of 6 problems right" in first.err
    report = json.loads((folder / "rows.json").read_text())
    assert report["source"] == "guided" and report["answers"] == 16 and report["calls"] >= report["rows_with_calls"] > 3
    answers = (folder / "guided.jsonl").read_bytes()
    assert main(command) == 0  # everything is there
    assert json.loads(capsys.readouterr().out) == printed and (folder / "guided.jsonl").read_bytes() == answers


def test_the_batch_is_shared_by_the_processes(tmp_path):
    def values(world, **trainer):
        made = trainer_values(Warmup(batch_size=32, trainer=trainer), tmp_path, seed=0, world=world, stage="warmup")
        return made["per_device_train_batch_size"], made["gradient_accumulation_steps"]

    assert values(1) == (32, 1) and values(4) == (8, 1) and values(2, per_device_train_batch_size=4) == (4, 4)
    for world, trainer in [(3, {}), (1, {"per_device_train_batch_size": 5}), (1, {"gradient_accumulation_steps": 2})]:
        with pytest.raises(ConfigurationError, match=r"warmup\.batch_size = 32 rows an update"):
            values(world, **trainer)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_order_of_the_rows_follows_from_the_seed_and_the_epoch(grouped):
    from relay_core.train.epoch_sampler import RowSampler

    step = [0]
    lengths = [n % 7 + 1 for n in range(22)]
    sampler = RowSampler(lengths, 4, grouped=grouped, seed=3, step=lambda: step[0])
    first = list(sampler)
    assert len(first) == len(sampler) == 24 and set(first) == set(range(22))
    step[0] = 5
    assert list(sampler) == first  # a run that resumes in the first epoch
    step[0] = 6
    assert list(sampler) != first
