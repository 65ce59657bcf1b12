import math

import pytest

from relay_core import Uncertain
from relay_core.evaluate.calibrate import calibrate, is_near
from relay_core.evaluate.doubts import foretell

DOUBTS = [[math.log(((i * 37) % 4999 + 1) / 5000) for i in range(4999)]]


@pytest.mark.parametrize(
    "distorted", [lambda r: r, lambda r: 0.4 * r, lambda r: 3 * r, lambda r: r**1.5, lambda r: r**0.6]
)
@pytest.mark.parametrize("target", [0.02, 0.05, 0.2])
async def test_a_relay_whose_ratio_is_not_the_foretold_one_is_brought_to_the_target(distorted, target):
    async def measure(trigger):
        return min(1.0, distorted(foretell(DOUBTS, trigger).call_ratio))

    rounds = await calibrate(DOUBTS, target, n=2, measure=measure)
    assert is_near(rounds[0].measured, target, 0.1) and len(rounds) <= 5
    assert [r.miss(target) for r in rounds] == sorted(r.miss(target) for r in rounds)


async def test_a_relay_that_first_makes_no_call():
    async def measure(trigger):
        return max(0.0, foretell(DOUBTS, trigger).call_ratio - 0.1)

    rounds = await calibrate(DOUBTS, 0.05, n=1, measure=measure)
    assert is_near(rounds[0].measured, 0.05)


async def test_a_target_out_of_reach_ends_at_the_widest_bound():
    async def measure(trigger):
        return 0.01

    rounds = await calibrate(DOUBTS, 0.9, n=1, measure=measure)
    assert [r.trigger for r in rounds][-1] == Uncertain(1.0, 1) or len(rounds) <= 5
    assert len({r.trigger for r in rounds}) == len(rounds)
    assert not is_near(rounds[0].measured, 0.9)
