"""Checks that start the models: a call to the teacher behind a text that it did not write, and a few answers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from relay_core import portal
from relay_core.engines.scripted import ScriptedEngine
from relay_core.engines.spec import EngineSpec, Scheme, engine_from_spec
from relay_core.evaluate.task import graded
from relay_core.events import TRUNCATED, FinishReason, RelayResult
from relay_core.relay import Relay
from relay_core.train import models, sources
from relay_core.train.checks.findings import Check, Inspection, Level

Found = Iterator[tuple[Level, str]]

PREFIX = "The answer is "
CALLED = 8
"""Tokens that the teacher is asked for."""
ANSWERS, TOKENS, SECONDS = 8, 128, 60.0
"""How many answers are tried at once, how long they may be, and how long they may take."""
TRIED_SECONDS = 120.0
PROBLEMS = 4
"""Problems that the teacher answers alone."""


def teacher(inspection: Inspection) -> Found:
    """Start the teacher, or each of its servers, and let it continue a text."""
    if not inspection.recipe.grpo.calls:
        yield Level.OK, "grpo.calls is false: the teacher answers in the filter and the measurement only"
    for spec in inspection.teacher_specs:
        if inspection.no_models and not spec.is_remote:
            yield Level.WARNING, f"{spec} was not tried: {inspection.no_models}"
            continue
        yield _called(inspection, spec)


def _called(inspection: Inspection, spec: EngineSpec) -> tuple[Level, str]:
    engine = models.sampling_engine(spec)
    student = ScriptedEngine([f"{PREFIX}<call>{CALLED}</call>", ""], inspection.student_tokenizer)
    relay = Relay(student, engine, inspection.recipe.settings())
    began = time.monotonic()
    portal.run(engine.start)
    if inspection.recipe.grpo.calls:
        sources.check(inspection.recipe, engine)
    started = time.monotonic()
    result: RelayResult = portal.run(
        lambda: relay.agenerate(
            inspection.problems["filter"][0].messages, on_teacher_error="raise", max_tokens=64, calls=True,
            trigger="commands", teacher_timeout_s=TRIED_SECONDS,
        )
    )  # fmt: skip
    if inspection.teacher is None:
        inspection.started(engine)
    else:
        portal.run(engine.aclose)
    took = f"started in {started - began:.1f} s, answered in {time.monotonic() - started:.1f} s"
    if not engine.continues:
        return Level.WARNING, f"{spec} cannot continue a text and is asked in words to go on; {took}"
    if not result.usage.teacher_tokens:
        return Level.WARNING, f"{spec} wrote nothing behind {PREFIX!r}; {took}"
    return Level.OK, f"{spec} wrote {result.usage.teacher_tokens} tokens behind {PREFIX!r}; {took}"


def pass_rate(inspection: Inspection) -> Found:
    """Whether the teacher answers any of a few problems right, as the filter will sample it."""
    config = inspection.recipe.filter
    if inspection.teacher is None or not config.enabled:
        return
    sampling = {"temperature": config.temperature, "top_p": config.top_p, "top_k": None}
    relay = Relay(inspection.teacher, None, inspection.recipe.settings(deadline_s=SECONDS, **sampling))
    problems = inspection.problems["filter"][:PROBLEMS]
    results: list[RelayResult] = portal.run(lambda: relay.abatch([problem.messages for problem in problems]))
    whole = [result.finish_reason not in TRUNCATED for result in results]
    right = sum(
        ended and graded(inspection.task, result.text, problem) is True
        for ended, result, problem in zip(whole, results, problems, strict=True)
    )
    if right:
        yield Level.OK, f"the teacher alone answers {right} of {len(problems)} problems right"
        return
    cut = f"; {whole.count(False)} answers were cut off" if not all(whole) else ""
    yield (
        Level.WARNING,
        f"the teacher alone answers none of {len(problems)} problems right, so the filter would keep nothing: see "
        f"whether task.grader fits its answers, such as {results[0].text[-60:]!r} where {problems[0].answer!r} is right"
        f"{cut}",
    )


def server(inspection: Inspection) -> Found:
    """Whether the server of ``grpo.policy_url`` is there and receives weights."""
    config = inspection.recipe.grpo
    if config.policy == "server" and config.policy_url is not None:
        from relay_core.train.policies.server import check_server

        check_server(config.policy_url)
        yield Level.OK, f"{config.policy_url} receives weights"


def rollout(inspection: Inspection) -> Found:
    """Decode a few answers, and estimate from them how long a rollout will take."""
    if inspection.no_models:
        yield Level.WARNING, f"no answer was tried: {inspection.no_models}"
        return
    recipe, config = inspection.recipe, inspection.recipe.grpo
    if config.calls and inspection.teacher is None:
        return  # the check of the teacher has said why
    settings = recipe.settings(temperature=config.temperature, deadline_s=SECONDS, calls=config.calls)
    settings = settings.merged({"max_tokens": min(TOKENS, settings.max_tokens)})
    engine = engine_from_spec(EngineSpec(Scheme.TRANSFORMERS, inspection.student_source), dtype="float32")
    relay = Relay(engine, inspection.teacher if config.calls else None, settings)
    problems = [p.messages for p in inspection.problems["filter"][: min(ANSWERS, config.prompts * config.group_size)]]
    try:
        portal.run(engine.start)
        began = time.monotonic()
        results: list[RelayResult] = portal.run(lambda: relay.abatch(problems))
        seconds = time.monotonic() - began
    finally:
        portal.run(engine.aclose)
    yield from _estimated(inspection, results, seconds)


def _estimated(inspection: Inspection, results: list[RelayResult], seconds: float) -> Found:
    recipe, config = inspection.recipe, inspection.recipe.grpo
    ended = [result for result in results if result.finish_reason not in (FinishReason.LENGTH, FinishReason.DEADLINE)]
    tokens = sum(result.usage.completion_tokens for result in results)
    rate = tokens / max(seconds, 1e-9)
    longest = recipe.settings().max_tokens
    mean = sum(result.usage.completion_tokens for result in ended) / len(ended) if ended else longest
    answers = math.ceil(config.prompts * config.group_size / inspection.world)
    thinking = sum("<think>" in result.text for result in results)
    if thinking:
        yield Level.WARNING, f"{thinking} of {len(results)} answers think (<think>): use a student that does not"
    if not ended:
        yield (
            Level.WARNING,
            f"none of {len(results)} answers ended within {min(TOKENS, longest)} tokens or {SECONDS:g} s",
        )
    elsewhere = "" if config.policy == "live" else f", where {config.policy} is faster than this trial"
    yield (
        Level.OK,
        f"a rollout decodes for about {_duration(answers * mean / rate)} ({answers} answers of {mean:.0f} tokens in "
        f"this process), at most {_duration(answers * longest / rate)} ({longest} tokens each): an estimate from "
        f"{len(results)} answers at once on this machine, {rate:.0f} tokens/s{elsewhere}; {config.rollouts} rollouts",
    )


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a reader would say it."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


TEACHER, SERVER, ROLLOUT = Check("teacher", teacher), Check("server", server), Check("rollout", rollout)
PASS_RATE = Check("pass rate", pass_rate)
