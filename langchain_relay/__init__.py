"""Relay decoding as a LangChain chat model.

    from langchain_relay import ChatRelay
    ChatRelay().invoke("…").content      # the bundled pair, on a CPU

Importing this package loads neither torch nor transformers nor vllm.

chat_models.py  the class ChatRelay
arguments.py    the names of its arguments
requests.py     one request: takes checked arguments, returns the answer in LangChain's forms
messages.py     converts LangChain's messages into messages for a chat template
replies.py      converts an answer's events into LangChain's messages and chunks
structured.py   the methods of with_structured_output
parsers.py      LangChain's parsers, with an error for an answer that is not whole
counting.py     counts the tokens of messages with the student's tokenizer
profiles.py     a relay's abilities as LangChain's ModelProfile
errors.py       converts our errors into LangChain's
"""

from langchain_relay.chat_models import ChatRelay

__all__ = ["ChatRelay"]
