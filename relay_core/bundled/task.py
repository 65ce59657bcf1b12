r"""The bundled task: shop-style word problems whose answers can be checked.

A problem states one quantity (a price, a wage, the content of a box), changes it in small steps, and multiplies it at
most once. Every problem has a reference answer, which solves the problem in sentences and ends in ``\boxed{N}``.

Problems are drawn from a seed. Only the numbers of a problem determine its split, so no two splits share a calculation.
``arithmetic.py`` draws the numbers, ``wording.py`` and ``telling.py`` put them into words, and ``prompt_forms.py`` and
``retrieved_context.py`` make the prompts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from relay_core.bundled.arithmetic import GROUPS, SPLITS, Group, Split, draw_plan, split_of
from relay_core.bundled.prompt_forms import FORM_MIX, Form, messages_of
from relay_core.bundled.retrieved_context import draw_context
from relay_core.bundled.telling import tell
from relay_core.bundled.wording import FAMILIES, HELD_OUT, NAMES, TRAINING
from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.evaluate.task import Problem

__all__ = [
    "DEMO_MIX",
    "GROUPS",
    "HELD_OUT",
    "SPLITS",
    "TRAINING",
    "BundledTask",
    "WordProblem",
    "demo_problems",
    "grade",
    "problems",
]

#: the default shares of the groups
DEMO_MIX: Mapping[Group, float] = {"easy": 0.4, "medium": 0.5, "hard": 0.1}

Name = TypeVar("Name", bound=str)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True, kw_only=True)
class WordProblem(Problem):
    """A problem of this task, with more fields for building and measuring the bundled models.

    Attributes:
        form: the form of the prompt: a bare question, a question after a system message, or one with retrieved context.
        family: the family of ``wording.py`` whose words the problem uses.
        split: the split of the problem's numbers.
        solution: the reference answer.
        question: the question without its context.
        context: the retrieved chunks; empty unless the form is ``context``.
        products: the character spans in ``solution`` that hold results of products, which the student does not learn.
    """

    answer: int
    form: Form
    family: str
    split: Split
    solution: str
    question: str
    context: tuple[str, ...] = ()
    products: tuple[tuple[int, int], ...] = ()


class BundledTask:
    """The bundled problems as a task for training, measuring and evaluation.

    It implements :class:`relay_core.evaluate.task.Task`.
    """

    name = "bundled"
    groups = GROUPS

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> list[WordProblem]:
        """Draw ``n`` problems from a split. The same arguments always draw the same problems.

        Args:
            split: ``"train"``, ``"dev"`` or ``"test"``.
            n: the number of problems; required, because a split has no last problem.
            seed: determines which problems are drawn.
            mix: the share of each group. ``None`` means 40% easy, 50% medium and 10% hard. For ``"test"``, these shares
                are exact; for the other splits, they are probabilities.

        Raises:
            ConfigurationError: the split or a group is unknown, or ``n`` is missing.
        """
        known_split = _known(split, SPLITS, "split")
        if n is None:
            raise ConfigurationError("the bundled task draws any number of problems: say how many")
        shares = None if mix is None else {_known(name, GROUPS, "group"): float(share) for name, share in mix.items()}
        if known_split == "test" and shares is None:
            return demo_problems(n, seed=seed)
        return problems(n, split=known_split, seed=seed, mix=shares)

    def grade(self, text: str, problem: Problem) -> bool:
        r"""Whether the last ``\boxed{...}`` of ``text`` holds the problem's answer."""
        return grade(text, problem.answer)


def problems(
    n: int,
    *,
    split: Split = "train",
    group: Group | None = None,
    form: Form | None = None,
    family: str | None = None,
    seed: int = 0,
    mix: Mapping[Group, float] | None = None,
) -> list[WordProblem]:
    """Draw ``n`` problems. The same arguments always draw the same problems.

    With a smaller ``n`` and otherwise the same arguments, the first problems of this draw are returned.

    Args:
        n: the number of problems.
        split: ``"train"``, ``"dev"`` or ``"test"``.
        group: the group of all problems; ``None`` draws the group of each problem according to ``mix``.
        form: the form of all problems; ``None`` draws the form of each problem according to ``FORM_MIX``.
        family: the family of all problems; ``None`` draws the family of each problem from ``TRAINING``. ``HELD_OUT``
            is the family that no bundled model was trained on.
        seed: determines which problems are drawn.
        mix: the probability of each group; ``None`` means ``DEMO_MIX``.
    """
    rng = random.Random(f"relay-bundled/{split}/{seed}")
    shares = mix or DEMO_MIX
    drawn: list[WordProblem] = []
    for _ in range(n):
        problem_group = group or rng.choices(list(shares), list(shares.values()))[0]
        problem_form = form or rng.choices(list(FORM_MIX), list(FORM_MIX.values()))[0]
        drawn.append(_draw(rng, split, problem_group, problem_form, family or rng.choice(TRAINING)))
    return drawn


def demo_problems(
    n: int = 300, *, seed: int = 0, form: Form | None = None, family: str | None = None
) -> list[WordProblem]:
    """Problems of the split ``test`` in exact shares: 40% easy, 50% medium, 10% hard, in random order.

    Args:
        form, family: of all problems; ``None`` draws them, as :func:`problems`.
    """
    easy, hard = round(n * DEMO_MIX["easy"]), round(n * DEMO_MIX["hard"])
    counts: dict[Group, int] = {"easy": easy, "medium": n - easy - hard, "hard": hard}
    chosen = [
        problem
        for group, count in counts.items()
        for problem in problems(count, split="test", group=group, form=form, family=family, seed=seed)
    ]
    random.Random(seed).shuffle(chosen)
    return chosen


def grade(text: str, answer: int | str) -> bool:
    r"""Whether the last ``\boxed{...}`` of ``text`` holds ``answer``; commas in the number are ignored."""
    boxed = _BOXED.findall(text)
    return bool(boxed) and boxed[-1].strip().replace(",", "") == str(answer)


def _draw(rng: random.Random, split: Split, group: Group, form: Form, family_name: str) -> WordProblem:
    while True:
        plan = draw_plan(rng, group, more_changes=family_name == HELD_OUT)
        if split_of(plan.key) == split:
            break
    family = FAMILIES[family_name]
    subject, name = rng.choice(family.subjects), rng.choice(NAMES)
    story = tell(rng, family, plan, subject, name)
    context: tuple[str, ...] = ()
    if form == "context":
        context = draw_context(rng, family, story.fact, subject)
        stated = story.opening
    else:
        stated = " ".join(rng.choice(((story.opening, story.fact), (story.fact, story.opening))))
    question = f"{stated} {story.events} {story.query}"
    return WordProblem(
        id=f"{family_name}-{form}-{subject}-{name}-{plan.key}".replace(" ", ""),
        group=group,
        form=form,
        family=family_name,
        split=split,
        messages=messages_of(rng, form, question, context),
        answer=plan.answer,
        solution=story.solution,
        question=question,
        context=context,
        products=story.products,
    )


def _known(name: str, names: tuple[Name, ...], kind: str) -> Name:
    """Return ``name`` if it is one of ``names``; otherwise raise an error that suggests one of them."""
    for known in names:
        if known == name:
            return known
    raise ConfigurationError(f"the bundled task has no {kind} {name!r}: {did_you_mean(name, names)}")
