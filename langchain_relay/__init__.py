"""Relay decoding as a LangChain chat model.

    from langchain_relay import ChatRelay
    ChatRelay().invoke("…").content      # the bundled pair, on a CPU

Importing this loads neither torch nor transformers nor vllm.
"""

from langchain_relay.chat_models import ChatRelay

__all__ = ["ChatRelay"]
