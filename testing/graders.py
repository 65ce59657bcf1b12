"""Graders for random models, whose answers hold nothing that is right."""

from relay_core import GradingError


def none_of_it(text, answer):
    """Grades no text with "?"; any other is right if it holds the answer."""
    if "?" in text:
        raise GradingError("too long")
    return str(answer) in text


def by_length(text, answer):
    """An answer is right if its length is a multiple of three."""
    return len(text) % 3 == 0


def parity(text, answer):
    """Whether the last digit of the text makes an ``even`` or an ``odd`` number, as the answer says."""
    digits = [character for character in text if character.isdigit()]
    return bool(digits) and ("even", "odd")[int(digits[-1]) % 2] == answer
