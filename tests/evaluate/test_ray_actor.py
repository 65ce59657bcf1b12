import pickle

import pyarrow
import pytest

from relay_core import EngineError, Relay
from relay_core.evaluate.ray_actor import Actor, Answerer
from testing.ray_answers import Doubled, Echo


def block(*items):
    return pyarrow.table({"index": list(range(len(items))), "data": [pickle.dumps(item) for item in items]})


def results(table):
    assert table["index"].to_pylist() == list(range(table.num_rows))
    return [pickle.loads(data) for data in table["data"].to_pylist()]


def test_a_block_becomes_a_block_of_results():
    actor = Actor(pickle.dumps(Doubled()), limit=2)
    assert results(actor(block(3, 4, 5))) == [6, 8, 10]
    assert results(actor(block(0))) == [0]


def test_an_error_stands_in_the_place_of_its_result():
    six, failed = results(Actor(pickle.dumps(Doubled(failing=[4])), limit=8)(block(3, 4)))
    assert six == 6
    assert type(failed.error) is EngineError and str(failed.error) == "student: no answer to 4"


def test_another_exception_is_a_fault_of_the_code_and_is_raised():
    with pytest.raises(TypeError):
        Actor(pickle.dumps(Doubled()), limit=8)(block(None))


def test_a_relay_answers():
    messages = ({"role": "user", "content": "number 0"},)
    (result,) = results(
        Actor(pickle.dumps(Answerer(Relay(Echo(), None))), limit=8)(block((messages, {"calls": False})))
    )
    assert result.text == "you said number 0"
