"""The options of an engine spec: ``vllm:PATH?max_model_len=4096&dtype=bfloat16``.

The options have the names of the engine's arguments. Keys, headers and proxies cannot be options, since specs are
shown, logged and stored.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, quote

from relay_core.errors import ConfigurationError, did_you_mean

_LOCAL = frozenset(
    "base device dtype page_size cache_tokens cache_gib max_batch_tokens max_requests cuda_graphs "
    "async_batching".split()
)
_REMOTE = frozenset(
    "mode tokenizer logprobs stream_interval connect_s first_token_s total_s retries backoff_s backoff_max_s "
    "breaker_after breaker_open_s max_in_flight hedge_after_s".split()
)
#: the options of each scheme; ``None`` means vLLM's own options, which vLLM checks
KNOWN: dict[str, frozenset[str] | None] = {
    "bundled": _LOCAL, "transformers": _LOCAL, "openai": _REMOTE, "vllm": None
}  # fmt: skip
_SECRET = re.compile(r"key|secret|password|passwd|credential|auth|sig$|(^|_)token$", re.I)
_PLAIN = "/:,@~[]{}()\"' "  # characters that need no escape behind the ? of a spec
_NAME = re.compile("[a-z][a-z0-9_]*")
_WORDS: dict[str, Any] = {"true": True, "false": False, "none": None}

Options = tuple[tuple[str, Any], ...]


def parse_options(scheme: str, query: str) -> Options:
    """The options after the ``?`` of a spec, sorted by name.

    Args:
        scheme: the part of the spec before the colon.
        query: the part after the ``?``.

    Raises:
        ConfigurationError: a name is unknown, is given twice, or is the name of a secret. The message shows no values.
    """
    known, options = KNOWN[scheme], dict[str, Any]()
    for name, text in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        if _SECRET.search(name):
            raise ConfigurationError(
                "an option of an engine spec is shown, and this one names a key or a password: give a key as api_key=, "
                "or in the environment"
            )
        if f"{name}=" not in query or not _NAME.fullmatch(name):  # a value without a name, which may be a key
            raise ConfigurationError("behind the ? of an engine spec stands no option: write NAME=VALUE, joined by &")
        if known is not None and name not in known:
            raise ConfigurationError(f"{scheme} has no option {name!r}; {did_you_mean(name, known)}")
        if name in options:
            raise ConfigurationError(f"the option {name} stands twice in an engine spec")
        options[name] = _value(text)
    if not options:
        raise ConfigurationError("an engine spec ends with a ? and no option: write ?NAME=VALUE")
    return tuple(sorted(options.items()))


def options_text(options: Options) -> str:
    """The options as text after the ``?`` of a spec; the inverse of :func:`parse_options`."""
    words = {str(value): word for word, value in _WORDS.items()}
    return "&".join(f"{name}={words.get(str(value)) or quote(str(value), safe=_PLAIN)}" for name, value in options)


def _value(text: str) -> Any:
    """The value that a text means: true, false, none, a number, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
