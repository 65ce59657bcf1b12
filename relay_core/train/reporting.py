"""Where the Trainer reports its metrics: TensorBoard by default, or what ``trainer.report_to`` in a recipe names.

The figures of rollouts reach the same place, since TRL reports what a reward function logs with ``log_metric``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from relay_core.errors import ConfigurationError, did_you_mean


def check_report_to(values: Mapping[str, Any], section: str = "grpo") -> None:
    """Check, before anything long begins, that the Trainer can report where a recipe says.

    Args:
        values: the recipe's values for the Trainer, such as ``{"report_to": "wandb"}``.
        section: the recipe's section, for errors.

    Raises:
        ConfigurationError: there is no such place, its package is not installed, or W&B has no key.
    """
    from transformers.integrations import integration_utils

    names = values.get("report_to", "tensorboard")
    names = [names] if isinstance(names, str) else names or []
    callbacks: Mapping[str, Any] = integration_utils.INTEGRATION_TO_CALLBACK
    for name in names:
        if name in ("all", "none"):
            continue
        where = f"{section}.trainer.report_to: {name}"
        if name not in callbacks:
            raise ConfigurationError(f"{where} is not known; {did_you_mean(str(name), ['none', 'all', *callbacks])}")
        try:
            callbacks[name]()
        except (RuntimeError, ImportError) as error:
            raise ConfigurationError(
                f"{where} needs a package that is not installed: pip install {name}, or write tensorboard or none"
            ) from error
        if name == "wandb" and not _has_wandb_key():
            raise ConfigurationError(
                f"{where} has no API key: run `wandb login`, or set WANDB_API_KEY, or set WANDB_MODE=offline, which "
                "keeps the metrics in the folder wandb"
            )


def _has_wandb_key() -> bool:
    """Whether W&B can begin a run without asking for a key."""
    import wandb

    if os.environ.get("WANDB_MODE", "online") in ("offline", "dryrun", "disabled"):
        return True
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except TypeError:  # an older W&B, whose login always asks
        return bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)
