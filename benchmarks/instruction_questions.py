"""Questions of which some need a call under instructions for the student, and others do not."""

from __future__ import annotations

from benchmarks.word_problems import LargeNumbers

MANNER = "Answer in full sentences: say what is given, calculate, and then give the result."
TOPICS = (
    "rain", "bread", "a violin", "the moon", "friendship", "glass", "a library", "chess", "tea", "a lighthouse",
    "wool", "patience", "a garden", "thunder", "a passport", "salt", "a bicycle", "jazz", "honey", "a museum",
)  # fmt: skip
FORMS = (
    "Describe {} in two sentences.", "Why do people like {}?", "Write a short poem about {}.",
    "Explain {} to a child in two sentences.", "Suggest a title for a story about {}.",
)  # fmt: skip

FACTS = tuple(
    [f"Who painted {name}?" for name in ("Guernica", "The Night Watch", "The Scream", "Las Meninas", "The Kiss")]
    + [f"When did {name} end?" for name in ("the Thirty Years' War", "the Ming dynasty", "the Crimean War")]
    + [f"What is the capital of {name}?" for name in ("Mongolia", "Uruguay", "Ghana", "Latvia", "Laos")]
    + [f"How long is {name}?" for name in ("the Danube", "the Great Wall of China", "the Panama Canal")]
    + [f"In which year was {name} born?" for name in ("Ada Lovelace", "Simon Bolivar", "Marie Curie", "Frida Kahlo")]
)
PASSAGES = tuple(
    [
        f"Quote the first sentence of {name}."
        for name in ("Pride and Prejudice", "1984", "Anna Karenina", "A Tale of Two Cities", "The Hobbit", "Emma")
    ]
    + [
        f"What is the definition of {name}?"
        for name in ("entropy", "a catalyst", "a monopoly", "a verb", "a square", "osmosis", "inflation", "a virus")
    ]
    + [f"How does the poem '{name}' begin?" for name in ("The Raven", "Ozymandias", "If", "Daffodils", "Invictus")]
    + ["Quote the first amendment of the constitution of the United States."]
)
CODE = tuple(
    f"Write a Python function that {what}."
    for what in (
        "reverses a string", "sorts a list by length", "counts the vowels of a text", "merges two dictionaries",
        "computes a factorial", "removes duplicates from a list", "checks for a palindrome", "flattens a list",
        "reads a CSV file", "finds the longest word", "converts Celsius to Fahrenheit", "transposes a matrix",
        "splits a list into chunks", "counts the words of a file", "validates an e-mail address",
        "computes a moving average", "rotates a list", "finds the mode", "parses a date", "capitalises each word",
    )
)  # fmt: skip


def questions(seed: int, instructions: str = "calculations") -> tuple[list[str], list[str]]:
    """The questions that need a call under these instructions, and the 100 that need none."""
    drawn = LargeNumbers().problems("test", 70, seed=seed)
    problems = [f"{problem.messages[0]['content']} {MANNER}" for problem in drawn]
    due = {"calculations": problems, "facts": FACTS, "passages": PASSAGES, "code": CODE}
    return list(due[instructions]), [form.format(topic) for topic in TOPICS for form in FORMS]
