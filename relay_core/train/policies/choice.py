"""The policy that a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from relay_core.train.policies.base import Policy
    from relay_core.train.recipe import Recipe

RESERVED = ("use_vllm", "vllm_mode", "vllm_server_base_url", "use_transformers_continuous_batching")
"""Values of ``trl.GRPOConfig`` that a policy decides alone."""


def policy_for(recipe: Recipe, tokenizer: Any) -> Policy:
    """The policy of a recipe (``grpo.policy``), which loads nothing before it is used.

    Args:
        recipe: the run's values.
        tokenizer: the student's tokenizer.

    Raises:
        MissingExtraError: the policy needs vLLM, which is not installed.
        ConfigurationError: ``grpo.trainer`` contradicts the policy.
    """
    config = recipe.grpo
    for name in RESERVED:
        if name in config.trainer:
            raise ConfigurationError(f"grpo.trainer.{name} is decided by grpo.policy ({config.policy}): leave it out")
    if config.policy == "colocate":
        from relay_core.train.policies.colocate import ColocatePolicy

        return ColocatePolicy(tokenizer, config.trainer)
    if config.policy == "server":
        from relay_core.train.policies.server import ServerPolicy

        assert config.policy_url is not None, "the recipe checks it"
        return ServerPolicy(tokenizer, config.policy_url)
    if config.sampling_dtype is not None:
        from relay_core.train.policies.copied import CopiedPolicy

        return CopiedPolicy(tokenizer, config.sampling_dtype)
    from relay_core.train.policies.live import LivePolicy

    return LivePolicy(tokenizer)
