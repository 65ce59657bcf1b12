"""Seeds: every sampled answer of a run has its own, derived from the run's seed and from what the answer is for.

An answer therefore does not depend on the order in which answers are sampled, on the answers that run at the same time,
or on the number of processes; a run that resumes draws what the undisturbed run would have drawn.
"""

from __future__ import annotations

import hashlib
import json

_SEEDS = 2**63  # engines take seeds below this number


def answer_seed(run_seed: int, stage: str, draw: int, problem_id: str, k: int) -> int:
    """The seed of one answer, below 2**63.

    Args:
        run_seed: the recipe's seed.
        stage: what the answer is sampled for, such as ``warmup``, ``filter`` or ``grpo``.
        draw: which draw of the stage it is; in GRPO the optimizer step at which the rollout begins.
        problem_id: the problem's id, or its prompt.
        k: which of the answers to this problem it is.
    """
    decisive = json.dumps([run_seed, stage, draw, problem_id, k])
    return int.from_bytes(hashlib.sha256(decisive.encode()).digest()[:8], "big") % _SEEDS
