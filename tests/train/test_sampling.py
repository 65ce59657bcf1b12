from relay_core import Relay, RelaySettings, ScriptedEngine
from relay_core.evaluate.store import Journal
from relay_core.train.sampling import sample
from testing.tasks import problem


def test_samples_are_the_students_own_ids_and_are_not_drawn_twice(qwen3, tmp_path):
    def script(prompt):
        return "word " * 50 if prompt.messages[-1]["content"] == "long" else "a <call>9</call> b"

    engine = ScriptedEngine(script, qwen3, record=True)
    relay = Relay(engine, None, RelaySettings(max_tokens=40))
    problems = [problem(name, None) for name in ("one", "long", "two")]
    path = tmp_path / "samples.jsonl"
    samples = sample(relay, problems, Journal(path), temperature=1.0)
    end = qwen3.hf.eos_token_id
    assert [s.token_ids for s in samples] == [(*qwen3.encode("a <call>9</call> b"), end)] * 2  # the long one has no end
    assert {request[1].temperature for request in engine.requests} == {1.0}
    engine.requests.clear()
    assert sample(relay, problems, Journal(path), temperature=1.0) == samples
    assert engine.requests == []
