"""Relay decoding as a LlamaIndex LLM.

    from llamaindex_relay import RelayLLM
    index.as_query_engine(llm=RelayLLM())        # the bundled pair, on a CPU

Importing this package loads neither torch nor transformers, because models load with the first answer.

llms.py       the class RelayLLM
arguments.py  the names and values of its arguments
requests.py   one request: takes checked arguments, returns the answer in LlamaIndex's forms
messages.py   converts LlamaIndex's messages and tools for a chat template
replies.py    converts an answer's events into LlamaIndex's responses
errors.py     errors that only this package defines
"""

from __future__ import annotations

from relay_core.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llamaindex_relay", "llamaindex") from error

from llamaindex_relay.llms import RelayLLM

__all__ = ["RelayLLM"]
