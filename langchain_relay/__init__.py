"""Relay decoding as a LangChain chat model.

    from langchain_relay import ChatRelay
    ChatRelay().invoke("…").content      # the bundled pair, on a CPU

Importing this package loads neither torch nor transformers nor vllm.

chat_models.py  the class ChatRelay
arguments.py    the names of its arguments
requests.py     one call: checked arguments in, the answer in LangChain's forms out
messages.py     LangChain's messages as those of a chat template
replies.py      an answer's events as LangChain's messages and chunks
structured.py   the methods of with_structured_output
counting.py     tokens of messages, as the student counts them
profiles.py     a relay's abilities as LangChain's ModelProfile
errors.py       our errors as LangChain's
"""

from langchain_relay.chat_models import ChatRelay

__all__ = ["ChatRelay"]
