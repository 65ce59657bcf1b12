from relay_core import Relay, RelaySettings, ScriptedEngine
from relay_core.train.jobs import jobs_for
from relay_core.train.sampling import sample
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
