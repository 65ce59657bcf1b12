"""The generation arguments of a task of ``lm_eval``, as settings of a relay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.harness_arguments import SETTINGS
from relay_core.settings import RelaySettings

#: names of the most tokens of an answer; the first that is given counts, as in lm_eval's other models
_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_KNOWN = "it knows until, max_gen_toks, do_sample, temperature, top_p, top_k, and the settings of docs/settings.md"


def overrides(options: Mapping[str, Any], settings: RelaySettings) -> dict[str, Any]:
    """The settings of a request, from the task's ``generation_kwargs`` and from ``--gen_kwargs``.

    Args:
        options: ``until`` (added to the relay's own stop strings), ``max_gen_toks`` or one of its synonyms,
            ``do_sample`` (without it, the answer is greedy), ``temperature``, ``top_p``, ``top_k`` (0 or less: no
            limit), and every other setting of a relay.
        settings: the relay's own settings.

    Raises:
        ConfigurationError: there is an option that a relay does not have, such as beams.
    """
    left = dict(options)
    found: dict[str, Any] = {}
    limits = [left.pop(name, None) for name in _LIMITS]
    if given := [limit for limit in limits if limit is not None]:
        found["max_tokens"] = int(given[0])
    until = left.pop("until", None) or ()
    strings = (until,) if isinstance(until, str) else tuple(until)
    found["stop"] = (*settings.stop, *(string for string in strings if string))
    if left.pop("do_sample", None) is False:
        left["temperature"] = 0.0
    if isinstance(top_k := left.get("top_k"), int) and top_k <= 0:
        left["top_k"] = None
    if left.get("num_beams") == 1:
        del left["num_beams"]
    for name in left:
        if name not in SETTINGS:
            raise ConfigurationError(f"a relay does not know the generation argument {name!r}; {_KNOWN}")
    return {**found, **left}
