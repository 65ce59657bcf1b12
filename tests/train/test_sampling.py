import signal
import subprocess
import sys
import time

import psutil
import pytest

from relay_core import Relay, RelaySettings, ScriptedEngine
from relay_core.evaluate.ray_data import Cluster
from relay_core.train import models
from relay_core.train.jobs import jobs_for
from relay_core.train.sampling import sample
from relay_core.train.sections import Lora
from testing import ray_answers
from testing.tasks import problem


def test_samples_are_the_students_own_ids_and_are_not_drawn_twice(qwen3, tmp_path):
    def script(prompt):
        return "word " * 50 if prompt.messages[-1]["content"] == "long" else "a <call>9</call> b"

    engine = ScriptedEngine(script, qwen3, record=True)
    relay = Relay(engine, None, RelaySettings(max_tokens=40, top_p=0.5, top_k=2))
    jobs = jobs_for([problem(name, None) for name in ("one", "long", "two")], 1, run_seed=0, stage="warmup")
    path = tmp_path / "samples.jsonl"
    samples = sample(relay, jobs, path, temperature=1.0)
    end = qwen3.hf.eos_token_id
    assert [s.token_ids for s in samples] == [(*qwen3.encode("a <call>9</call> b"), end)] * 2  # the long one has no end
    # the student's own distribution, unchanged
    assert {(s.temperature, s.top_p, s.top_k) for _, s in engine.requests} == {(1.0, 1.0, None)}
    assert {s.seed for _, s in engine.requests} == {job.seed for job in jobs}
    engine.requests.clear()
    assert sample(relay, jobs, path, temperature=1.0) == samples
    assert engine.requests == []


def test_another_seed_draws_other_answers_and_the_order_does_not_matter():
    problems = [problem(name, None) for name in ("one", "two")]
    jobs = jobs_for(problems, 2, run_seed=0, stage="warmup")
    assert [(job.i, job.k) for job in jobs] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({job.seed for job in jobs}) == 4
    assert [job.seed for job in jobs_for(problems[::-1], 2, run_seed=0, stage="warmup")][:2] == [
        job.seed for job in jobs[2:]
    ]
    others = jobs_for(problems, 2, run_seed=1, stage="warmup") + jobs_for(problems, 2, run_seed=0, stage="filter")
    assert not {job.seed for job in jobs} & {job.seed for job in others}


@pytest.mark.timeout(600)
def test_over_ray_a_model_samples_the_same_file(ray_here, tmp_path, model_folder):
    jobs = jobs_for([problem(f"How much is {n} + 3?", None) for n in range(12)], 1, run_seed=0, stage="warmup")
    settings = RelaySettings(max_tokens=24)
    model, tokenizer = models.load(str(model_folder))
    with Relay(models.engine_on(model, tokenizer, "live"), None, settings) as relay:
        here = sample(relay, jobs, tmp_path / "here.jsonl", temperature=1.0)
    relay = Relay(models.engine_for_actors(str(model_folder), Lora()), None, settings)
    assert sample(relay, jobs, tmp_path / "ray.jsonl", temperature=1.0, cluster=Cluster(actors=1)) == here != []
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()


@pytest.mark.timeout(600)
def test_a_driver_that_is_killed_goes_on(ray_here, tmp_path):
    path, parts = tmp_path / "rows.jsonl", tmp_path / "rows.parts" / "part-0.jsonl"
    with subprocess.Popen([sys.executable, "-m", "testing.ray_answers", str(path)]) as driver:
        while not parts.exists() or parts.read_bytes().count(b"\n") < 4:
            assert driver.poll() is None
            time.sleep(0.02)
        of_its_ray = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal.SIGKILL)
    kept = parts.read_bytes()
    assert 4 <= kept.count(b"\n") < 48
    ray_answers.rows(path, Cluster(actors=1))
    assert not parts.exists()
    ray_answers.rows(tmp_path / "here.jsonl", None)
    assert path.read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    assert {*kept.splitlines()} <= {*path.read_bytes().splitlines()}
    give_up_at = time.monotonic() + 60
    while any(map(alive, of_its_ray)):
        assert time.monotonic() < give_up_at, [process for process in of_its_ray if alive(process)]
        time.sleep(0.2)


def alive(process: psutil.Process) -> bool:
    """Whether it runs; an orphan that ended stays a zombie where no process 1 reaps it, as in some containers."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
