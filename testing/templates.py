"""Tokenizers with the chat templates of ten model families, which lie in ``tests/templates/``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from relay_core.tokenizer import Tokenizer

TEMPLATES = Path(__file__).parent.parent / "tests" / "templates"
QWEN3 = TEMPLATES.parent / "data" / "qwen3" / "chat_template.jinja"

#: each family's special tokens, in order: BOS (empty if it has none), EOS, others
SPECIAL_TOKENS: dict[str, tuple[str, ...]] = {
    "chatml_hermes": ("<|begin_of_text|>", "<|im_end|>", "<|im_start|>"),
    "command_r": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>"),
    "deepseek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    "gemma2": ("<bos>", "<end_of_turn>", "<start_of_turn>"),
    "gemma3": ("<bos>", "<end_of_turn>", "<start_of_turn>"),
    "granite": ("", "<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    "mistral": ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
    "phi": ("", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"),
    "qwen3": ("", "<|im_end|>", "<|im_start|>"),
    "smollm2": ("", "<|im_end|>", "<|im_start|>"),
}
FAMILIES = tuple(SPECIAL_TOKENS)


@cache
def source(family: str) -> str:
    """The family's chat template."""
    return (QWEN3 if family == "qwen3" else TEMPLATES / f"{family}.jinja").read_text()


def tokenizer_of(family: str) -> Tokenizer:
    """A tokenizer of single bytes and the family's special tokens, with its template; encoding adds BOS as theirs do.

    ``<tool_call>`` is a token that is not special, as in Qwen's vocabulary.
    """
    return with_template(source(family), *SPECIAL_TOKENS[family], name=family)


def with_template(template: str, bos: str, eos: str, *others: str, name: str = "a model") -> Tokenizer:
    """A tokenizer of single bytes with a template and special tokens."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    vocabulary = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Backend(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    special = [token for token in (bos, eos, *others) if token]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in ("<tool_call>", "</tool_call>")])
    if bos:
        pair = (bos, backend.token_to_id(bos))
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[pair]
        )
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos or None, eos_token=eos)
    hf.chat_template = template
    return Tokenizer(hf, name)
