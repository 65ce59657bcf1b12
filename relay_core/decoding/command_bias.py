"""The tokens that can begin a command, to which a trigger's bias is added (``Trigger.command_bias``).

A command's first token is where the student decides to call. A token counts as one if its text is a beginning of
``<call>``: "<", "<c", or an added token "<call>", after white space and at most one punctuation mark, since many
vocabularies have tokens such as " <", "\\n<" and "=<". Other uses of such a token ("a < b") are biased, too, because
nothing that the student has written so far tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from relay_core.command import OPEN
from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer

_found: WeakKeyDictionary[Tokenizer, tuple[int, ...]] = WeakKeyDictionary()


def command_openers(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of the tokens that can begin a command, in order."""
    if tokenizer not in _found:
        table = tokenizer.token_bytes
        texts = {
            index: token.replace("▁", " ") if table is None else table[index].decode("utf-8", "replace")
            for token, index in tokenizer.vocabulary.items()
            if OPEN[0] in token
        }
        _found[tokenizer] = tuple(sorted(index for index, text in texts.items() if _begins_command(text)))
    return _found[tokenizer]


def _begins_command(text: str) -> bool:
    text = text.lstrip()
    if text and not text[0].isalnum() and text[0] not in "_<>":
        text = text[1:]
    return text != "" and OPEN.startswith(text)


def command_logit_bias(student: Engine, bias: float) -> Mapping[int, float] | None:
    """What ``Sampling.logit_bias`` must be for a trigger's bias; ``None`` without a bias.

    Args:
        student: a started engine.
        bias: the trigger's ``command_bias``.

    Raises:
        ConfigurationError: the engine cannot bias tokens, or its vocabulary is not on this machine.
    """
    if not bias:
        return None
    if not student.biases_logits:
        raise ConfigurationError(
            f"the student ({student.spec}, {type(student).__name__}) cannot change the probability of a token, so "
            "Commands(bias=...) does nothing there: leave the bias out"
        )
    vocabulary = student.vocabulary
    if vocabulary is None:
        raise ConfigurationError(
            f"Commands(bias=...) needs the ids of the tokens that begin a command, and the vocabulary of the student "
            f"({student.spec}) is not on this machine: name it with tokenizer=, a folder or hub id"
        )
    openers = command_openers(vocabulary)
    if not openers:
        raise ConfigurationError(f"no token of the student's vocabulary ({vocabulary.name}) begins {OPEN!r}")
    return dict.fromkeys(openers, bias)
