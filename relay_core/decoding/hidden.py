"""The trigger whose calls a small head decides, from the student's last hidden state and its probabilities.

The method follows CITER (https://arxiv.org/abs/2502.01976) and R2R (https://arxiv.org/abs/2505.21600): a classifier
predicts whether the token that the small model has sampled is wrong. This head is a logistic regression
(``engines/transformers/head.py``); ``relay tune --trigger hidden`` fits one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from relay_core.decoding.triggers import Candidate, Decider, Halt, Trigger, check_count
from relay_core.errors import ConfigurationError


class _Heeds(Decider):
    reads_tokens = True

    def __init__(self, above: float, n: int) -> None:
        self._above, self._n = above, n

    def before_token(self, candidate: Candidate) -> int:
        probability = candidate.token.head_probability
        return self._n if probability is not None and probability > self._above else 0

    def halt(self, since_call: int | None) -> Halt:
        above = self._above
        return lambda written, token: token.head_probability is not None and token.head_probability > above


@dataclass(frozen=True, slots=True)
class Hidden(Trigger):
    """A call opens instead of a token if the head gives it a probability above ``above``.

    The head predicts the probability that the student's token is wrong: that the teacher finds it very unlikely
    (``evaluate/objections.py``). It runs inside the student's engine, which must be a
    :class:`~relay_core.engines.transformers.TransformersEngine`.

    Args:
        head: the head's folder, which ``relay tune --trigger hidden`` writes. The engine loads it once.
        above: the bound, 0 or more and below 1.
        n: the number of teacher tokens that a call requests.

    Raises:
        ConfigurationError: a value has the wrong type or is outside its range.
    """

    head: str
    above: float
    n: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.head, (str, os.PathLike)) or not str(self.head).strip():
            raise ConfigurationError(f"Hidden: head is {self.head!r}: write the folder of a head")
        object.__setattr__(self, "head", os.fspath(self.head).strip())
        above = self.above
        if not isinstance(above, (int, float)) or isinstance(above, bool) or not 0 <= above < 1:
            raise ConfigurationError(f"Hidden: above is {above!r}: write a probability, 0 or more and below 1")
        check_count("Hidden", "n", self.n, low=1)

    @property
    def needed_head(self) -> str:
        return self.head

    def decider(self, seed: int | None) -> Decider:
        return _Heeds(self.above, self.n)

    def __str__(self) -> str:
        return f"hidden:{self.head},{self.above:.10g},{self.n}"


def parse_hidden(text: str) -> Hidden:
    """Parse ``FOLDER,above`` or ``FOLDER,above,n``; the folder's path may contain commas.

    Raises:
        ConfigurationError: a value is outside its range.
        ValueError: ``text`` has another form.
    """
    head, above, n = (*text.rsplit(",", 2), "", "")[:3]
    try:
        return Hidden(head, float(above), int(n))
    except ConfigurationError:
        raise
    except ValueError:
        head, above = text.rsplit(",", 1)
        return Hidden(head, float(above))
