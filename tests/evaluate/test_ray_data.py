"""An async function in actors of a real Ray of this machine; tests/train/test_sampling.py has the rows of training."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from relay_core import ConfigurationError, EngineError, Relay
from relay_core.engines.openai import OpenAIEngine
from relay_core.errors import MissingExtraError
from relay_core.evaluate import ray_data
from relay_core.evaluate.ray_actor import Answerer
from relay_core.evaluate.ray_data import BLOCK, Cluster, spread
from testing.ray_answers import Deadly, Doubled, Meeting

pytestmark = pytest.mark.timeout(600)  # a busy machine takes half a minute to start Ray, or an actor


def spread_here(answer: Any, n: int, *, actors: int = 1, limit: int = 8) -> dict[int, Any]:
    """The results of the items 0 to n, by position, in the order in which they came."""
    results: dict[int, Any] = {}

    def keep(index: int, result: Any) -> None:
        assert index not in results
        results[index] = result

    spread(answer, range(n), keep, cluster=Cluster(actors=actors), limit=limit, uses_gpu=False)
    return results


def test_every_item_is_answered_once_by_several_actors(ray_here: None) -> None:
    assert spread_here(Doubled(), 21, actors=2) == {i: 2 * i for i in range(21)}


def test_the_items_of_several_blocks_are_answered_at_once(ray_here: None) -> None:
    assert set(spread_here(Meeting(2 * BLOCK), 2 * BLOCK, limit=2 * BLOCK)) == set(range(2 * BLOCK))


def test_an_error_arrives_as_it_was_raised_and_the_rest_of_its_block_is_kept(ray_here: None) -> None:
    kept: dict[int, int] = {}
    cluster = Cluster(actors=1)
    with pytest.raises(EngineError, match=r"student: no answer to 1$") as raised:
        spread(Doubled(failing=[1]), range(BLOCK), kept.__setitem__, cluster=cluster, limit=8, uses_gpu=False)
    assert raised.value.role == "student"
    assert kept == {i: 2 * i for i in range(BLOCK) if i != 1}


def test_an_actor_that_dies_is_started_again(ray_here: None, tmp_path: Path) -> None:
    assert set(spread_here(Deadly(5, 1, tmp_path), 12)) == set(range(12))
    assert len(list(tmp_path.iterdir())) == 1


def test_an_actor_that_always_dies_is_an_error(
    ray_here: None, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_data, "RESTARTS", 1)
    with pytest.raises(EngineError, match="lost again and again"):
        spread_here(Deadly(0, 1000, tmp_path), 1)
    assert len(list(tmp_path.iterdir())) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_more_than_a_machine_has_is_refused(ray_here: None) -> None:
    for cluster in (Cluster(gpus=1), Cluster(cpus=3)):
        with pytest.raises(ConfigurationError, match="no machine of the Ray cluster has them"):
            spread(Doubled(), [1], print, cluster=cluster, limit=8)


def test_a_key_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.cloudpickle

    relay = Relay(OpenAIEngine("m", "http://127.0.0.1:1/v1", api_key="planted", role="teacher"), None)
    pickled = ray.cloudpickle.dumps(Answerer(relay))
    assert b"planted" not in pickled
    monkeypatch.setenv("RELAY_TEACHER_API_KEY", "of the machine")
    engine = ray.cloudpickle.loads(pickled).relay.student
    assert engine._address.api_key.get_secret_value() == "of the machine"


def test_an_address_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConfigurationError, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
        spread(Doubled(), [1], print, cluster=Cluster(address=f"127.0.0.1:{port}"), limit=8)


def test_impossible_numbers() -> None:
    for values in ({"actors": 0}, {"gpus": -1.0}):
        with pytest.raises(ConfigurationError, match="or more, or leave the number out"):
            Cluster(**values)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"--ray.*not installed"):
        spread(Doubled(), [1], print, cluster=Cluster(), limit=8)
