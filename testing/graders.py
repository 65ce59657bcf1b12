"""Graders for random models, whose answers hold nothing that is right."""


def by_length(text, answer):
    """An answer is right if its length is a multiple of three."""
    return len(text) % 3 == 0
