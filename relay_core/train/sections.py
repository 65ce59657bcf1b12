"""The sections of a recipe, one dataclass each: the stages `distill`, `warmup`, `filter`, `grpo` and `measure`, and
`lora`.

`distill.trainer`, `warmup.trainer` and `grpo.trainer` are passed to TRL's SFTConfig and GRPOConfig.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from relay_core.errors import ConfigurationError
from relay_core.train.fields import Count, CountOrNone, NotNegative, Positive, check_fields


class Supervised(Protocol):
    """A section whose stage trains with supervision (``supervised.py``).

    ``batch_size``: rows of an update, over all processes. ``trainer``: values of ``trl.SFTConfig``.
    """

    @property
    def batch_size(self) -> int: ...

    @property
    def trainer(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Distill:
    """The distillation stage (``distill.py``), which comes before warm-up and is left out unless ``problems`` is set.

    Args:
        problems: the number of problems that the teacher answers; 0 leaves the stage out. They are others than those of
            warm-up.
        mix: the share of each group of problems; ``None`` leaves the shares to the task.
        temperature: the teacher's temperature.
        batch_size: rows of an update, over all processes.
        trainer: values of ``trl.SFTConfig``; ``per_device_train_batch_size`` bounds the rows of a pass.
    """

    problems: CountOrNone = 0
    mix: Mapping[str, NotNegative] | None = None
    temperature: NotNegative = 0.0
    batch_size: Count = 32
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields("distill", self)


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """The warm-up stage.

    Args:
        source: where the training rows come from: ``random`` inserts commands at random places of the student's own
            samples (the paper's way, ``warmup.py``); ``guided`` opens a call where the teacher would hardly have
            written what the student wrote (``guided.py``); ``told`` keeps the right answers of a student that
            instructions tell when to call (``told.py``); ``answers`` opens calls in the teacher's own answers, where
            the student is not sure how they go on (``answers.py``).
        problems: the number of problems; the student samples one answer to each. If the task has fewer, it samples
            several answers to each.
        mix: the share of each group of problems; ``None`` leaves the shares to the task.
        temperature: the temperature of the samples; of the teacher's answers (``answers``).
        draws: the number of training rows from each sample, each with other random commands (``random``).
        max_commands: the most commands that are inserted into a sample (``random``).
        powers: exponents; the n of a command is a digit times 10 to the power of one of them (``random``).
        margin: a call is opened before the first token whose log-probability, by the teacher, is more than this below
            that of the teacher's best token, in nats (``guided``).
        rounds: the most calls that are opened in one answer, one a round (``guided``).
        call_tokens: the most tokens of one such call (``guided``).
        prune: leave out calls without which the answer ends right, too, and end each call where the student would go on
            with the same words (``guided``).
        unaided: for this share of the answers that end right with a call, train on the student's own answer, too, so
            that it still knows how to go on where a call is refused or fails (``guided``).
        unsolved: for this share of the problems that no call solved, train on the student's own answer, so that it
            does not call in vain (``guided``).
        instructions: the name of shipped instructions, or a text of your own (``told``).
        below: a call is opened before a token of the teacher's answer to which the student gives a lower probability
            than this (``answers``).
        matching: a regular expression; only a token in whose text it is found opens a call. With ``'[0-9]'``, a call
            brings a number; ``None``: any token (``answers``).
        fewest: the fewest tokens of a call, in the student's vocabulary; 3 for a number of unknown length, for example
            (``answers``).
        blocked_problems: warm-up's cost is measured on this many problems of the split ``train``: the student's
            accuracy before and after warm-up, with calls blocked; 0 measures nothing.
        batch_size: rows of an update, over all processes.
        trainer: values of ``trl.SFTConfig``; ``per_device_train_batch_size`` bounds the rows of a pass.
    """

    source: Literal["random", "guided", "told", "answers"] = "random"
    problems: Count = 2400
    mix: Mapping[str, NotNegative] | None = None
    temperature: NotNegative = 1.0
    draws: Count = 1
    max_commands: CountOrNone = 3
    powers: Sequence[CountOrNone] = (0, 1)
    margin: float = 4.5
    rounds: Count = 3
    call_tokens: Count = 5
    prune: bool = False
    unaided: NotNegative = 0.0
    unsolved: NotNegative = 0.0
    instructions: str = "calculations"
    below: Positive = 0.5
    matching: str | None = None
    fewest: Count = 1
    blocked_problems: CountOrNone = 100
    batch_size: Count = 32
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields("warmup", self)
        if not self.powers:
            raise ConfigurationError("warmup.powers is empty: write a list of exponents, such as [0, 1]")
        for name, share in (("unaided", self.unaided), ("unsolved", self.unsolved), ("below", self.below)):
            if share > 1:
                raise ConfigurationError(f"warmup.{name} is {share!r}: write at most 1")
        try:
            re.compile(self.matching or "")
        except re.error as error:
            raise ConfigurationError(
                f"warmup.matching is {self.matching!r}, which is no regular expression ({error}): write one, such as "
                "'[0-9]'"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The data filter.

    Args:
        enabled: ``False`` keeps all problems; the teacher answers none (the paper's ablation).
        problems: the number of problems that the teacher answers; all, if the task has fewer.
        mix: the share of each group of problems; ``None`` leaves the shares to the task.
        samples: answers per problem.
        temperature, top_p: the sampling of the answers.
        keep: the lowest pass rate of a problem that is kept.
    """

    enabled: bool = True
    problems: Count = 640
    mix: Mapping[str, NotNegative] | None = None
    samples: Count = 10
    temperature: NotNegative = 0.7
    top_p: Positive = 0.95
    keep: NotNegative = 0.5

    def __post_init__(self) -> None:
        check_fields("filter", self)
        for name, share in (("top_p", self.top_p), ("keep", self.keep)):
            if share > 1:
                raise ConfigurationError(f"filter.{name} is {share!r}: write at most 1")


@dataclass(frozen=True, kw_only=True)
class Grpo:
    """The GRPO stage.

    Args:
        rollouts: the number of rollouts.
        prompts: prompts per rollout; the answers to one prompt are a group.
        group_size: answers per prompt.
        updates: optimizer steps per rollout; update u trains on every ``updates``-th group, from group u on.
        reward: ``difficulty_aware``, ``simple`` or ``bill``; see ``rewards.py``. ``bill`` needs ``relay.prices``.
        bill_scale: the price of an answer, in the currency of ``relay.prices``, that costs a reward of 1 (``bill``).
        independence_bonus, exploration: switches of the difficulty-aware reward; see ``rewards.py``.
        broken_penalty: what an answer loses in which a command is malformed or never closed; the paper has none. On
            problems that no call solves, a broken command is otherwise the cheapest call.
        calls: ``False`` trains the student alone, without calls (plain GRPO).
        temperature: the student's temperature in rollouts and in the loss.
        policy: where the student decodes during rollouts: ``live`` (the weights in this process), ``colocate`` (TRL's
            vLLM in this process) or ``server`` (a vLLM server that receives the weights); see ``policies/``.
        sampling_dtype: ``bfloat16``, ``float16`` or ``float32``: the student decodes during rollouts on a copy of the
            weights in this dtype; ``None`` decodes on the weights that are trained (``live``).
        policy_url: the base URL of the vLLM server (``server``), such as ``http://10.0.0.2:8000``.
        teacher_patience_s: how long a rollout waits for a teacher that does not answer, before the run ends.
        max_concurrency: how many answers of a process run at a time; ``None`` for all of a rollout.
        tokens_per_forward: the most tokens of one forward and backward pass, padding included; at least one row.
        checkpoint_every: rollouts between two checkpoints.
        trainer: values of ``trl.GRPOConfig``.
    """

    rollouts: Count = 80
    prompts: Count = 64
    group_size: int = 8
    updates: Count = 2
    reward: Literal["difficulty_aware", "simple", "bill"] = "difficulty_aware"
    bill_scale: Positive = 1.0
    independence_bonus: bool = True
    exploration: bool = True
    broken_penalty: NotNegative = 0.0
    calls: bool = True
    temperature: Positive = 1.0
    policy: Literal["live", "colocate", "server"] = "live"
    sampling_dtype: Literal["bfloat16", "float16", "float32"] | None = None
    policy_url: str | None = None
    teacher_patience_s: NotNegative = 1800.0
    max_concurrency: Count | None = None
    tokens_per_forward: Count = 16384
    checkpoint_every: Count = 10
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields("grpo", self)
        if self.sampling_dtype is not None and self.policy != "live":
            raise ConfigurationError(
                f"grpo.sampling_dtype belongs to grpo.policy: live; with {self.policy}, vLLM has a dtype of its own"
            )
        if self.group_size < 2:
            raise ConfigurationError(f"grpo.group_size is {self.group_size}: a group needs at least 2 answers")
        if self.prompts % self.updates:
            raise ConfigurationError(
                f"grpo.prompts = {self.prompts} groups cannot be shared evenly by grpo.updates = {self.updates}"
            )
        if self.policy == "server" and not self.policy_url:
            raise ConfigurationError("grpo.policy is server: write grpo.policy_url, such as http://127.0.0.1:8000")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Training of a low-rank adapter instead of all weights (peft), in warm-up and in GRPO.

    Args:
        r: the rank; 0 trains all weights.
        alpha: the adapter's output is scaled by ``alpha / r``; ``None`` means 2 r.
        dropout: the dropout of the adapter's input.
        target_modules: the modules that get an adapter: peft's ``all-linear``, or a list of names.
        merge: ``True`` merges the adapter into the weights at the end, so that the trained student is a whole model;
            ``False`` saves the adapter alone, which every engine in this process loads onto its base.
        base: the hub id that a saved adapter names as its base; ``None`` names the student's folder or hub id.
        dtype: the dtype of the base's weights in training; those of the adapter are always float32.
    """

    r: int = 0
    alpha: int | None = None
    dropout: float = 0.0
    target_modules: str | Sequence[str] = "all-linear"
    merge: bool = True
    base: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_fields("lora", self)
        if self.r < 0 or (self.alpha is not None and self.alpha <= 0) or not 0 <= self.dropout < 1:
            raise ConfigurationError(
                f"lora.r = {self.r}, lora.alpha = {self.alpha}, lora.dropout = {self.dropout}: the rank is at least 0, "
                "alpha above 0, and the dropout from 0 to below 1"
            )


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The measurement at the end, on ``problems`` problems of the task's split ``test`` (all, if it has fewer)."""

    problems: Count = 300

    def __post_init__(self) -> None:
        check_fields("measure", self)
