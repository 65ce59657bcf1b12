"""Which precision suits a processor.

Without instructions for bfloat16 (AVX512_BF16, AMX), torch converts the weights for each product. Alone, a request is
as fast as in float32, since it waits for the memory; in a batch, or while it reads a prompt, it is several times
slower (docs/models.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def why_batches_are_slow(model: PreTrainedModel) -> str | None:
    """A message if the model computes on a CPU in a precision for which it has no instructions; otherwise ``None``."""
    import torch

    if model.device.type != "cpu" or model.dtype is not torch.bfloat16 or cpu_has_bfloat16():
        return None
    return (
        "this CPU has no instructions for bfloat16, so float32 is several times as fast in batches and in reading a "
        "prompt: write ?dtype=float32, which takes twice the memory"
    )


def cpu_has_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16; ``True`` where this is not known, as on other CPUs than x86."""
    import torch

    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    known = [capabilities[name] for name in ("avx512_bf16", "amx_bf16") if name in capabilities]
    return any(known) or not known
