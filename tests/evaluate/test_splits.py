from relay_core.evaluate.splits import balanced_halves
from testing.tasks import problem


def test_halves_are_alike_in_weight_and_share_no_prompt():
    problems = [problem(f"{i}?", i) for i in range(41)] + [problem("3?", "again")]
    first, other = balanced_halves(problems, lambda p: p.answer, seed=0)
    assert len(first) == 21 and len(other) == 20 and not {p.id for p in first} & {p.id for p in other}
    pairs = zip(sorted(p.answer for p in first), sorted(p.answer for p in other), strict=False)
    assert all(abs(a - b) <= 2 for a, b in pairs)  # "3?" is kept once, with its first answer
    assert balanced_halves(problems, lambda p: p.answer, seed=0) == (first, other)
    assert balanced_halves(problems, lambda p: p.answer, seed=1) != (first, other)
