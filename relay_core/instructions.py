"""Instructions: texts that tell a student when to call, so that a model can be a student without training.

    settings = RelaySettings(student_instructions=CALCULATIONS, trigger="commands:8")

An instruct model of about 1B parameters or more follows such a text; smaller models do not. The model knows when to
call, but not how many tokens to request: ``trigger="commands:8"`` fixes the number. The text is added to the student's
system message, and never to the teacher's prompt. docs/triggers.md shows how to use them;
``benchmarks/instructions.py`` counts how often a student that reads one calls.
"""

from __future__ import annotations

from relay_core.errors import ConfigurationError, did_you_mean

_FORM = (
    "You write together with an expert. {when}, do not write it yourself: write <call>{n}</call> in its place, and the "
    "expert continues your text there. Then go on. Write everything else yourself.\n"
    "Example: {example}"
)


def instructions(when: str, example: str, n: int = 8) -> str:
    """Write instructions for a purpose of your own.

    Args:
        when: when the student should call, as the beginning of a sentence: ``"When a date is due"``.
        example: a text in which the student calls, with the command: ``"The treaty was signed in <call>8</call>."``
        n: the number in the command that the instructions show.

    Raises:
        ConfigurationError: the example has no command, or ``when`` is empty.
    """
    if not when.strip():
        raise ConfigurationError("instructions: when is empty: write when to call, such as 'When a date is due'")
    if "<call>" not in example or "</call>" not in example:
        raise ConfigurationError(
            f"instructions: the example has no command: {example!r}; write <call>{n}</call> where the expert continues"
        )
    return _FORM.format(when=when.strip().rstrip(",."), example=example.strip(), n=n)


#: for the results of calculations
CALCULATIONS = instructions(
    "Whenever the result of a calculation is due",
    "Nora has 48 marbles and finds 59 more. She has 48 + 59 = <call>8</call>",
)
#: for facts, names, dates and numbers that must be looked up
FACTS = instructions(
    "Whenever a fact is due that you could get wrong, such as a name, a date or a number",
    "The tower was built by <call>8</call>",
)
#: for a passage that must be right word for word
PASSAGES = instructions(
    "Whenever a passage must be right word for word, such as a quotation, a definition or an address",
    "The definition reads: <call>40</call>",
    n=40,
)
#: for the body of a function
CODE = instructions(
    "Whenever the body of a function is due, after its signature and docstring",
    'def median(values):\n    """The median of the values."""\n<call>80</call>',
    n=80,
)

BY_NAME = {"calculations": CALCULATIONS, "facts": FACTS, "passages": PASSAGES, "code": CODE}


def named(name: str) -> str:
    """The instructions with this name, for command lines and recipes.

    Raises:
        ConfigurationError: no instructions have this name.
    """
    if name not in BY_NAME:
        raise ConfigurationError(f"no instructions are called {name!r}; {did_you_mean(name, BY_NAME)}")
    return BY_NAME[name]
