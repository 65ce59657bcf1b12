"""A student whose LoRA adapter is trained, on peft: built, saved, and resumed by Hugging Face's Trainer.

For the KL term, TRL keeps a frozen copy of an adapter that is trained on, under the name ``ref``. Only the trained
adapter is saved: Trainer loads only the adapters in subfolders of a checkpoint if there are any, so with the copy
beside it, a resumed run would start again from the untrained adapter. TRL makes the copy anew from the folder that
training starts from.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModelForCausalLM
from peft.tuners.tuners_utils import BaseTunerLayer

from relay_core.engines import adapter_folder, base_sample, model_folder
from relay_core.errors import ConfigurationError
from relay_core.evaluate.store import write_json
from relay_core.train.sections import Lora


class AdapterModel(PeftModelForCausalLM):  # type: ignore[misc]
    """A causal language model with one trained adapter.

    Args:
        model: the base.
        peft_config: the adapter's config.
        others: of peft.
    """

    source = ""  # the folder or hub id that the base was loaded from

    def __init__(self, model: Any, peft_config: Any, **others: Any) -> None:
        sample = base_sample.sample_of(model)
        super().__init__(model, peft_config, **others)
        self.base_sample = sample
        self._plain: dict[str, torch.Tensor] = {}  # the base's weights on the CPU, once they have been merged

    def save_pretrained(self, save_directory: Any, **options: Any) -> None:
        """Write the trained adapter into a folder, without peft's empty model card. The same adapter always gives the
        same files: peft has the names of its modules in a set, whose order differs from one process to the next."""
        super().save_pretrained(
            str(save_directory),
            **{**options, "selected_adapters": [adapter_folder.NAME], "save_embedding_layers": False},
        )
        (Path(save_directory) / "README.md").unlink(missing_ok=True)
        file = Path(save_directory) / adapter_folder.CONFIG
        if file.exists():  # peft writes nothing outside the main process
            config = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(config["target_modules"], list):
                config["target_modules"].sort()
                write_json(file, config)
        base_sample.write(self.base_sample, Path(save_directory))

    def merge_adapter(self, *args: Any, **options: Any) -> None:
        """Add the adapter to the base's weights for a while, as TRL does to send them to vLLM."""
        if not self._plain:
            self._plain = {name: weight.detach().to("cpu", copy=True) for name, weight in self._base_weights()}
        self.base_model.merge_adapter(*args, **options)

    def unmerge_adapter(self) -> None:
        """Undo :meth:`merge_adapter` exactly.

        peft subtracts the adapter again, which leaves rounding errors in the base. They would add up over a run, and a
        saved adapter, or a resumed run, meets the base without them.
        """
        self.base_model.unmerge_adapter()
        with torch.no_grad():
            for name, weight in self._base_weights():
                weight.copy_(self._plain[name])

    def _base_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The weights of the base that the adapter is added to."""
        for name, module in self.named_modules():
            if isinstance(module, BaseTunerLayer):
                yield name, module.get_base_layer().weight

    def merged(self) -> Any:
        """The base with the adapter merged into its weights, in float32; this model cannot be used any more."""
        return self.float().merge_and_unload(adapter_names=[adapter_folder.NAME])

    def merged_from(self, state: Mapping[str, Any]) -> Any:
        """:meth:`merged` with the weights of ``state``, if this model holds only a part of them (FSDP, ZeRO-3)."""
        base = model_folder.load_model(self.source, dtype="float32", device="cpu")
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, state_dict=dict(state))
            return adapter_folder.merged(base, Path(folder))


def fresh(model: Any, lora: Lora, *, source: str, name: str, seed: int) -> AdapterModel:
    """``model`` with a new adapter, which changes nothing yet.

    Args:
        model: the base.
        lora: the recipe's section.
        source: the folder or hub id that the base was loaded from.
        name: the name of the base in the adapter's config.
        seed: decides the initial weights.

    Raises:
        ConfigurationError: the adapter cannot be built on this model.
    """
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    if "lm_head" in targets:
        raise ConfigurationError("lora.target_modules names lm_head, which GRPO cannot train: leave it out")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=2 * lora.r if lora.alpha is None else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        base_model_name_or_path=name,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            wrapped = AdapterModel(model, config, adapter_name=adapter_folder.NAME)
        except ValueError as error:
            raise ConfigurationError(f"lora: no adapter can be built on {name}: {error}") from error
    wrapped.source = source
    return wrapped


def resumed(model: Any, folder: Path, lora: Lora, *, source: str) -> AdapterModel:
    """``model`` with the adapter in ``folder``, to be trained on; ``lora.base`` replaces the name of its base.

    Raises:
        ConfigurationError: the adapter does not fit the model, or is of another rank than the recipe's.
    """
    rank = adapter_folder.check_adapter(folder).get("r")
    if rank != lora.r:
        raise ConfigurationError(f"the adapter {folder} has the rank {rank}, and lora.r is {lora.r}: write {rank}")
    wrapped: AdapterModel = adapter_folder.attach(model, folder, wrapper=AdapterModel, is_trainable=True)
    if lora.base is not None:
        wrapped.peft_config[adapter_folder.NAME].base_model_name_or_path = lora.base
    wrapped.source = source
    return wrapped
