"""Relay decoding as a LlamaIndex LLM.

    from llamaindex_relay import RelayLLM
    index.as_query_engine(llm=RelayLLM())        # the bundled pair, on a CPU

Importing this package loads neither torch nor transformers: models load with the first answer.

llms.py       the class RelayLLM
arguments.py  the names and values of its arguments
requests.py   one call: checked arguments in, the answer in LlamaIndex's forms out
messages.py   LlamaIndex's messages and tools as those of a chat template
replies.py    an answer's events as LlamaIndex's responses
errors.py     the errors that the core has not
"""

from __future__ import annotations

from relay_core.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llamaindex_relay", "llamaindex") from error

from llamaindex_relay.llms import RelayLLM

__all__ = ["RelayLLM"]
