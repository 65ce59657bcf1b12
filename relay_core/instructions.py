"""Instructions: texts that tell a student when to call, so that a model can be a student without training.

    settings = RelaySettings(student_instructions=CALCULATIONS, trigger="commands:8")

An instruct model of about 1B parameters or more follows such a text; smaller models do not. The model knows when to
call, but not how many tokens to request: ``trigger="commands:8"`` fixes the number. The text is added to the student's
system message, and never to the teacher's prompt. docs/triggers.md shows how to use the texts, and how often a real
model called with each of them (``benchmarks/instructions.py``).

Three things decided whether a model of 1.5B followed a text: examples in the wording that the model itself uses,
examples of answers without a call as the last ones, and a reminder at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay_core.errors import ConfigurationError, did_you_mean

#: a question, and how the student is to answer it
Example = tuple[str, str]

_WITHOUT_A_CALL: tuple[Example, ...] = (
    ("Why is the sky blue?", "Because air scatters blue light more than red light."),
    ("Why do people keep dogs?", "People keep dogs because they are loyal and good company."),
)


def instructions(when: str, example: str | Sequence[Example], n: int = 8) -> str:
    """Write instructions for a purpose of your own.

    Args:
        when: when the student should call, as the beginning of a sentence: ``"When a date is due"``.
        example: a text in which the student calls, with the command: ``"The treaty was signed in <call>8</call>."``;
            or pairs of a question and its answer, of which several work better than one.
        n: the number in the command that the instructions show.

    Raises:
        ConfigurationError: an example has no command, or ``when`` is empty.
    """
    when = when.strip().rstrip(",.")
    if not when:
        raise ConfigurationError("instructions: when is empty: write when to call, such as 'When a date is due'")
    rule = f"{when}, you do not write it yourself: you write <call>{n}</call>, and the expert continues there."
    reminder = f"Remember: {when[0].lower()}{when[1:]}, write <call>{n}</call> in its place."
    if isinstance(example, str):
        _check(example, n)
        return "\n".join([_beginning(rule), f"Example: {example.strip()}", reminder])
    for question_and_answer in example:
        _check(question_and_answer[1], n)
    return _dialogues(rule, example, reminder)


def _check(example: str, n: int) -> None:
    if "<call>" not in example or "</call>" not in example:
        raise ConfigurationError(
            f"instructions: the example has no command: {example!r}; write <call>{n}</call> where the expert continues"
        )


def _beginning(rule: str) -> str:
    return f"You write together with an expert. {rule} Then go on. Everything else you write as usual."


def _dialogues(rule: str, examples: Sequence[Example], reminder: str) -> str:
    """The rule, the examples, two examples without a call, and the reminder."""
    shown = [
        f"Example {i}\nUser: {question}\nYou: {answer}"
        for i, (question, answer) in enumerate([*examples, *_WITHOUT_A_CALL], start=1)
    ]
    return "\n".join([_beginning(rule), *shown, reminder])


#: for the results of calculations
CALCULATIONS = _dialogues(
    'You never write the result of a calculation yourself. Right after each "=" of a calculation, you write '
    "<call>8</call>, and the expert continues there.",
    [
        (
            "Nora has 48 marbles and finds 59 more. How many has she now?",
            "Given: Nora has 48 marbles and finds 59 more.\nCalculation: 48 + 59 = <call>8</call>",
        ),
        ("What is 12 times 7?", "Given: 12 times 7.\nCalculation: 12 * 7 = <call>8</call>"),
        ("A tank of 90 litres loses 34. How much is left?", "The tank holds 90 - 34 = <call>8</call>"),
        ("What is 15% of 60?", "15% of 60 is 0.15 * 60 = <call>8</call>"),
    ],
    'Remember: after the "=" of a calculation comes <call>8</call>, never a number.',
)
#: for names, dates and numbers that the student could get wrong
FACTS = _dialogues(
    "You never write a name, a date or a number of the real world yourself. Where one is due, you write "
    "<call>8</call>, and the expert continues there.",
    [
        ("Who wrote Hamlet?", "Hamlet was written by <call>8</call>"),
        ("When was the Eiffel Tower opened?", "The Eiffel Tower was opened in <call>8</call>"),
        ("What is the capital of Peru?", "The capital of Peru is <call>8</call>"),
        ("How high is Mont Blanc?", "Mont Blanc is <call>8</call> high."),
    ],
    "Remember: where a name, a date or a number is due, write <call>8</call> in its place.",
)
#: for a passage that must be right word for word
PASSAGES = _dialogues(
    "You never write a quotation or a definition yourself. Where one is due, you write <call>40</call>, and the expert "
    "continues there.",
    [
        ("Quote the first sentence of Moby-Dick.", 'Moby-Dick begins: "<call>40</call>"'),
        ("What is the definition of a prime number?", "A prime number is defined as <call>40</call>"),
        ("How does the poem 'The Tyger' begin?", 'It begins: "<call>40</call>"'),
    ],
    "Remember: where a quotation or a definition is due, write <call>40</call> in its place.",
)
#: for the body of a function
CODE = _dialogues(
    "You write the signature and the docstring of a function, and never its body. Where the body begins, you write "
    "<call>80</call>, and the expert continues there.",
    [
        (
            "Write a Python function that returns the median.",
            '```python\ndef median(values):\n    """The median of the values."""\n<call>80</call>\n```',
        ),
        (
            "Implement is_prime(n) in Python.",
            '```python\ndef is_prime(n):\n    """Whether n is a prime number."""\n<call>80</call>\n```',
        ),
    ],
    "Remember: after the signature and the docstring of a function comes <call>80</call>, never its body.",
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
