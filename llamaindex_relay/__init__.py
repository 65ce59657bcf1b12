"""LlamaIndex's door to the relay: ``RelayLLM`` in the place of any other LLM.

    from llamaindex_relay import RelayLLM
    index.as_query_engine(llm=RelayLLM())        # the bundled pair, on a CPU

Importing this loads neither torch nor transformers: models load with the first answer.
"""

from __future__ import annotations

from relay_core.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llamaindex_relay", "llamaindex") from error

from llamaindex_relay.llms import RelayLLM

__all__ = ["RelayLLM"]
