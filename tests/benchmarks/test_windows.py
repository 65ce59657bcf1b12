"""The benchmark of hand-overs behind long contexts, on tiny models."""

from __future__ import annotations

from pathlib import Path

from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from benchmarks import windows


async def test_both_models_share_the_prompt(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 6, "head_dim": 8, "sliding_window": 16}
    model = Gemma3ForCausalLM(Gemma3TextConfig(**(windows.GEMMA_3_270M | sizes | {"layer_types": None})))
    models = {"windows": model.eval(), "full": windows.full_twin(model.config)}
    result = await windows.measure(models, [40], 1, tmp_path)
    assert result["model"] == "Gemma3ForCausalLM"
    for row in result["milliseconds"]["40"].values():
        assert row["cached_tokens"] == 32 and row["handover_ms"] > 0
