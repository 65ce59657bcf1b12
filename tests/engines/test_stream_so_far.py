from relay_core import Chunk, Prompt, Sampling
from relay_core.engines.base import EngineUsage, Token
from relay_core.engines.stream_so_far import StreamSoFar


def test_the_rest_is_requested_behind_what_has_come():
    so_far = StreamSoFar(Prompt("Q: ", [1, 2]), Sampling(5, temperature=1.0, seed=2**63 - 1))
    assert so_far.next_request() == (Prompt("Q: ", [1, 2]), Sampling(5, temperature=1.0, seed=2**63 - 1))
    so_far.take(Chunk((Token(7, "a"), Token(8, "b"))))
    assert so_far.can_resume and so_far.left == 3
    prompt, sampling = so_far.next_request()
    assert prompt == Prompt("Q: ab", [1, 2, 7, 8], continuation="ab")
    assert sampling == Sampling(3, temperature=1.0, seed=1), "other random draws, and still a valid seed"
    chunk = so_far.take(Chunk((Token(9, "c"),), usage=EngineUsage(4, None, 1)))
    assert chunk.usage == EngineUsage(4, None, 3)


def test_text_without_ids_cannot_be_resumed():
    so_far = StreamSoFar(Prompt("Q: ", [1, 2]), Sampling(5))
    so_far.take(Chunk((Token(None, "a b"),)))
    assert not so_far.can_resume
    assert not StreamSoFar(Prompt("Q: "), Sampling(5)).can_resume
