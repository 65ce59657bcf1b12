"""Checks of the problems: splits, columns, answers, and the grader."""

from __future__ import annotations

import json
from collections.abc import Iterator

from relay_core.errors import ConfigurationError
from relay_core.evaluate.task import Problem, Task, names_a_class
from relay_core.train.checks.findings import Check, Inspection, Level

Found = Iterator[tuple[Level, str]]

FORMS = ("{}", "\\boxed{{{}}}", "The answer is {}.", "Answer: {}", "#### {}")
"""Forms in which a right answer is shown to the grader, one of which should pass."""
_GRADED = 20


def data(inspection: Inspection) -> Found:
    """Whether every stage gets its problems, each with an answer."""
    drawn = inspection.problems
    for stage, problems in drawn.items():
        empty = [problem.id for problem in problems if problem.answer is None or not str(problem.answer).strip()]
        if empty:
            yield (
                Level.ERROR,
                f"{stage}: {len(empty)} of {len(problems)} problems have an empty answer, such as {empty[0]!r}: fill "
                "or remove them",
            )
    prompts = inspection.recipe.grpo.prompts
    if len(drawn["filter"]) < prompts:
        yield (
            Level.ERROR,
            f"a rollout takes grpo.prompts = {prompts} problems, and the split train has {len(drawn['filter'])}: lower "
            "grpo.prompts",
        )
    training = {_prompt(p) for stage in ("distill", "warmup", "filter") for p in drawn.get(stage, ())}
    shared = sum(_prompt(problem) in training for problem in drawn["measure"])
    if shared:
        yield Level.WARNING, f"{shared} of {len(drawn['measure'])} prompts of the split test are trained on"
    counts = ", ".join(f"{stage} {len(problems)}" for stage, problems in drawn.items())
    yield Level.OK, f"problems of {inspection.task.name}: {counts}"


def grader(inspection: Inspection) -> Found:
    """Whether the grader runs, passes right answers, and fails an empty one."""
    task, problems = inspection.task, inspection.problems["filter"][:_GRADED]
    spec = inspection.recipe.task
    if not names_a_class(spec) if isinstance(spec, str) else "grader" not in spec:
        yield (
            Level.WARNING,
            "no grader is given, so an answer is right only if its whole text is the answer (exact): for numbers, "
            "write --task.grader number",
        )
    forms = {form: sum(_grade(task, form.format(p.answer), p) for p in problems) for form in FORMS}
    best = max(forms, key=lambda form: forms[form])
    solved = [p for p in problems if hasattr(p, "solution")]
    passed = max(forms[best], sum(_grade(task, str(p.solution), p) for p in solved))
    if any(_grade(task, "", problem) for problem in problems):
        yield Level.ERROR, "the grader passes an empty answer: choose another one (task.grader)"
    if not passed:
        yield (
            Level.WARNING,
            f"the grader passes none of {len(problems)} right answers, bare, in \\boxed{{}}, behind ####, or in a "
            f"sentence ({problems[0].answer!r}): unless it wants another form, choose another one (task.grader)",
        )
    elif passed < len(problems):
        yield Level.WARNING, f"the grader passes {passed} of {len(problems)} right answers"
    else:
        yield Level.OK, f"the grader passes {passed} of {len(problems)} right answers, and no empty one"


def _grade(task: Task, text: str, problem: Problem) -> bool:
    try:
        return task.grade(text, problem)
    except Exception as error:  # a grader may be the user's own function
        raise ConfigurationError(
            f"the grader fails on the right answer {problem.answer!r} of problem {problem.id}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _prompt(problem: Problem) -> str:
    return json.dumps([dict(message) for message in problem.messages], sort_keys=True)


CHECKS = (Check("data", data), Check("grader", grader))
