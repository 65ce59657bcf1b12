"""Checks of the student's tokenizer and configs: chat template, thinking, end tokens, prompts, the command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from relay_core import command
from relay_core.chat import Conversation, render
from relay_core.engines.transformers.footprint import context_of
from relay_core.errors import ConfigurationError
from relay_core.template import check_template, missing_end, template_of
from relay_core.tokenizer import Tokenizer
from relay_core.train.checks.findings import Check, Inspection, Level

Found = Iterator[tuple[Level, str]]

THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis", "<|end|>"),
)
"""How models open and close their thoughts."""
LONG_COMMAND = 16
_RENDERED = 2000


def template(inspection: Inspection) -> Found:
    """Whether the student's template renders the prompts, with thinking turned off."""
    for role, tokenizer in (("student", inspection.student_tokenizer), ("teacher", inspection.teacher_tokenizer)):
        if tokenizer is None:
            continue
        check_template(tokenizer)
        prompt = Conversation.of(inspection.problems["filter"][0].messages)
        ends_with = render(tokenizer, prompt).text[-60:]
        if not inspection.recipe.settings().enable_thinking:
            yield from _thinking(role, tokenizer)
        yield Level.OK, f"the {role}'s prompts end with {ends_with!r}"


def _thinking(role: str, tokenizer: Tokenizer) -> Found:
    """Whether thoughts are closed, or never opened, before the answer begins."""
    source = template_of(tokenizer)
    off, on = (
        source.render([{"role": "user", "content": "?"}], enable_thinking=thinking).rpartition("?")[2]
        for thinking in (False, True)
    )
    for opening, closing in THOUGHTS:
        if off.count(opening) > off.count(closing):
            raise ConfigurationError(
                f"the {role}'s chat template opens {opening} in every prompt, so its thinking cannot be turned off: "
                "use a model that can answer without (Qwen3, an Instruct model), or write relay.enable_thinking: true"
            )
    mentioned = [
        opening for opening, closing in THOUGHTS if opening in str(source.source) or closing in str(source.source)
    ]
    if mentioned and off == on:
        yield (
            Level.WARNING,
            f"the {role}'s chat template knows {mentioned[0]}, but renders the same with thinking on and off: if the "
            "model thinks all the same, use another one",
        )


def end_tokens(inspection: Inspection) -> Found:
    """Whether the model's end tokens hold the one with which the template ends an answer."""
    from transformers import GenerationConfig

    tokenizer = inspection.student_tokenizer
    values: list[Any] = [tokenizer.hf.eos_token_id, getattr(inspection.config, "eos_token_id", None)]
    try:
        values.append(GenerationConfig.from_pretrained(inspection.student_source).eos_token_id)
    except OSError:
        yield Level.WARNING, "the student has no generation_config.json; the end tokens are those of its tokenizer"
    ends = {int(i) for value in values for i in (value if isinstance(value, list) else [value]) if i is not None}
    if missing := missing_end(tokenizer, ends):
        raise ConfigurationError(missing)
    shown = ", ".join(f"{tokenizer.decode([i], control=True)} {i}" for i in sorted(ends))
    yield Level.OK, f"an answer ends with {shown}"


def prompts(inspection: Inspection) -> Found:
    """Whether prompts and answers fit both contexts."""
    settings = inspection.recipe.settings()
    problems = [p for drawn in inspection.problems.values() for p in drawn][:_RENDERED]
    contexts: dict[str, tuple[Tokenizer | None, int | None]] = {
        "student": (inspection.student_tokenizer, None if inspection.config is None else context_of(inspection.config))
    }
    if inspection.teacher is not None:
        contexts["teacher"] = (inspection.teacher_tokenizer, inspection.teacher.context_length)
    for role, (tokenizer, context) in contexts.items():
        if tokenizer is None:
            continue
        lengths: dict[str, int] = {}
        for problem in problems:
            conversation = Conversation.of(problem.messages)
            if role == "student" and settings.student_instructions:
                conversation = conversation.instructed(settings.student_instructions)
            lengths[problem.id] = len(render(tokenizer, conversation).token_ids)
        longest = max(lengths, key=lambda name: lengths[name])
        over = sum(context is not None and n + settings.max_tokens > context for n in lengths.values())
        if over and context is not None:
            room = context - lengths[longest]
            instead = f"write relay.max_tokens: {room} or less, or " if room > 0 else ""
            yield (
                Level.ERROR,
                f"{over} of {len(lengths)} prompts and relay.max_tokens = {settings.max_tokens} exceed the {role}'s "
                f"context of {context}; the longest prompt, {longest}, has {lengths[longest]} tokens: {instead}leave "
                "out the longest problems",
            )
        else:
            known = "an unknown context" if context is None else f"a context of {context}"
            yield (
                Level.OK,
                f"the longest of {len(lengths)} prompts has {lengths[longest]} tokens for the {role}; with "
                f"{settings.max_tokens} of an answer, in {known}",
            )


def commands(inspection: Inspection) -> Found:
    """How many tokens a command takes, and whether it comes out of the vocabulary as it went in."""
    tokenizer, text = inspection.student_tokenizer, command.write(9)
    ids = tokenizer.encode(text)
    if tokenizer.decode(ids) != text:
        raise ConfigurationError(
            f"the student's vocabulary cannot spell {text}: it makes {tokenizer.decode(ids)!r} of it"
        )
    level = Level.WARNING if len(ids) > LONG_COMMAND else Level.OK
    yield level, f"{text} takes {len(ids)} tokens of the student"


def vocabularies(inspection: Inspection) -> Found:
    """Whether ids mean the same tokens in both models."""
    teacher = inspection.teacher_tokenizer
    if teacher is None:
        yield Level.OK, "the teacher's vocabulary is known to its server alone; text travels between the models"
    elif inspection.student_tokenizer.shares_vocabulary(teacher):
        yield Level.OK, f"both models share a vocabulary of {len(teacher.vocabulary):,} tokens"
    else:
        yield (
            Level.WARNING,
            f"the vocabularies differ ({len(inspection.student_tokenizer.vocabulary):,} and {len(teacher.vocabulary):,}"
            " tokens): text travels between the models, and a command counts the teacher's tokens",
        )


BEFORE_TEACHER = (Check("template", template), Check("end tokens", end_tokens), Check("command", commands))
AFTER_TEACHER = (Check("vocabulary", vocabularies), Check("prompts", prompts))
