"""The forms of a problem's prompt: a bare question, a question after a system message, or one of LlamaIndex's prompts.

The templates of LlamaIndex's query and chat engines are copied here, so that the bundled models can be trained on these
prompts without installing LlamaIndex. ``tests/llamaindex/test_retrieval.py`` compares the copies with the originals.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Literal

from relay_core.engines.base import Message

#: ``context`` states the fact in retrieved text; the other two state it in the question
Form = Literal["question", "system", "context"]
FORMS: tuple[Form, ...] = ("question", "system", "context")
FORM_MIX: Mapping[Form, float] = {"question": 0.4, "system": 0.3, "context": 0.3}

SYSTEMS = (
    "You are a helpful assistant.",
    "You are a careful clerk in a shop. Work step by step.",
    "Answer the question step by step and put the answer in a box.",
    "You help people with sums. Be short and clear.",
    "You are a friendly teacher. Show each step.",
    "Please reason step by step, and put your final answer within \\boxed{}.",
)

# llama_index.core.prompts.default_prompts.DEFAULT_TEXT_QA_PROMPT_TMPL (0.14.25)
TEXT_QA = (
    "Context information is below.\n"
    "---------------------\n"
    "{context}\n"
    "---------------------\n"
    "Given the context information and not prior knowledge, answer the query.\n"
    "Query: {question}\n"
    "Answer: "
)
# llama_index.core.prompts.chat_prompts.TEXT_QA_SYSTEM_PROMPT
TEXT_QA_SYSTEM = (
    "You are an expert Q&A system that is trusted around the world.\n"
    "Always answer the query using the provided context information, "
    "and not prior knowledge.\n"
    "Some rules to follow:\n"
    "1. Never directly reference the given context in your answer.\n"
    "2. Avoid statements like 'Based on the context, ...' or "
    "'The context information ...' or anything along "
    "those lines."
)
# llama_index.core.chat_engine.context.DEFAULT_CONTEXT_TEMPLATE
CHAT_ENGINE_SYSTEM = (
    "Use the context information below to assist the user.\n--------------------\n{context}\n--------------------\n"
)
# llama_index.core.chat_engine.condense_plus_context.DEFAULT_CONTEXT_PROMPT_TEMPLATE (`as_chat_engine()` uses it)
CONDENSE_SYSTEM = """
  The following is a friendly conversation between a user and an AI assistant.
  The assistant is talkative and provides lots of specific details from its context.
  If the assistant does not know the answer to a question, it truthfully says it
  does not know.

  Here are the relevant documents for the context:

  {context}

  Instruction: Based on the above documents, provide a detailed answer for the user question below.
  Answer "don't know" if not present in the document.
  """


def text_qa_messages(context: str, question: str) -> tuple[Message, ...]:
    """LlamaIndex's default question-answering prompt for a completion model: one user message."""
    return ({"role": "user", "content": TEXT_QA.format(context=context, question=question)},)


def chat_text_qa_messages(context: str, question: str) -> tuple[Message, ...]:
    """LlamaIndex's default question-answering prompt for a chat model."""
    return ({"role": "system", "content": TEXT_QA_SYSTEM}, *text_qa_messages(context, question))


def chat_engine_messages(context: str, question: str, template: str = CHAT_ENGINE_SYSTEM) -> tuple[Message, ...]:
    """The prompt of LlamaIndex's context chat engine."""
    return (
        {"role": "system", "content": template.format(context=context)},
        {"role": "user", "content": question},
    )


def condense_messages(context: str, question: str) -> tuple[Message, ...]:
    """The prompt of LlamaIndex's default chat engine, `condense_plus_context`, at its first turn."""
    return chat_engine_messages(context, question, CONDENSE_SYSTEM)


def messages_of(rng: random.Random, form: Form, question: str, context: tuple[str, ...]) -> tuple[Message, ...]:
    """The messages of a problem.

    Args:
        rng: draws the system message of the form ``system``, and the template of the form ``context``.
        form: the form of the prompt.
        question: the user's question.
        context: the retrieved chunks; only the form ``context`` uses them.
    """
    user = {"role": "user", "content": question}
    if form == "question":
        return (user,)
    if form == "system":
        return ({"role": "system", "content": rng.choice(SYSTEMS)}, user)
    template: Callable[[str, str], tuple[Message, ...]] = rng.choices(
        (text_qa_messages, chat_text_qa_messages, chat_engine_messages, condense_messages), (0.2, 0.25, 0.2, 0.35)
    )[0]
    return template("\n\n".join(context), question)
