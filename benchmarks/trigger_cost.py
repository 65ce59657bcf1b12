"""What a trigger costs where it opens no call: tokens per second against ``Never``, on the same prompts in turns."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.decode_figures import Figures
from benchmarks.decode_rounds import FreshPrompts, relayed, run_timed
from relay_core import Relay, RelaySettings
from relay_core.engines.base import Engine


async def trigger_cost(
    student: Engine, teacher: Engine, trigger: str, settings: RelaySettings, prompts: FreshPrompts,
    *, at_once: int, answers: int, rounds: int,
) -> dict[str, Any]:  # fmt: skip
    """The rates with ``trigger`` and with ``never``, over ``rounds`` rounds after one to warm up.

    In each round both answer prompts of their own, in an order that changes from round to round.

    Returns:
        ``tokens_per_s`` and ``never_tokens_per_s``; ``ratio``, the median of ``ratios_of_rounds``; and ``calls``, the
        calls that the trigger opened, which cost more than the trigger itself.
    """
    relays = {name: Relay(student, teacher, settings.merged({"trigger": name})) for name in (trigger, "never")}
    rates: dict[str, list[float]] = {name: [] for name in relays}
    calls = 0
    for number in range(rounds + 1):
        for name in sorted(relays, reverse=bool(number % 2)):
            figures = Figures(at_once)
            await run_timed(figures.relay, relayed(relays[name], figures), prompts.take(answers), at_once)
            if number:
                rates[name].append(figures.relay.tokens / figures.relay.seconds)
                calls += figures.calls
    ratios = [with_trigger / never for with_trigger, never in zip(rates[trigger], rates["never"], strict=True)]
    return {
        "tokens_per_s": median(rates[trigger]),
        "never_tokens_per_s": median(rates["never"]),
        "ratio": median(ratios),
        "ratios_of_rounds": ratios,
        "calls": calls,
    }
