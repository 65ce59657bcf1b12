r"""The final answer that a text states.

\boxed{5}  \framebox{5}  \boxed{5           the last box; a text may end before it is closed
#### 5                                      the form of GSM8K
The answer is 5.   Answer: $x = 5$          the rest of the sentence
"""

from __future__ import annotations

import re

LONGEST = 1_000
"""The most characters of an answer."""
_LAST = 20  # how many boxes, or sentences with "answer", are looked at, from the end

_BOX = re.compile(r"\\(?:boxed|framebox|fbox)\s*(?:\{|(?=[-\d]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"[-\d.,]*\d")
_UNCLOSED = re.compile(r"(?:\\.|[^$\n\\])*")
_JOINED = re.compile(r"(?:\s|\$|\\\)|\\\()*(?:,|\band\b|\bor\b)(?:\s|\$|\\\)|\\\(|,|\band\b|\bor\b)*")
_HASHES = re.compile(r"^####[ \t]*(\S.*)$", re.MULTILINE)
_SAID = re.compile(r"answer\b(?:\s+is\b|\s*[:=]|\s*\*\*\s*:?)+[\s*_:]*((?:[^.\n]|\.(?=\w))+)", re.IGNORECASE)
_NUMBER = r"(?<![\w{^_\\.])[-+]?(?:\d[\d,]*\d|\d|\.\d)(?:\.\d+)?(?:\s?/\s?\d+)?\s?%?(?![\w}^\\])"
_EXPRESSION = re.compile(
    r"\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|\\\((?P<c>.+?)\\\)|(?<!\\)\$(?P<d>[^$\n]+?)(?<!\\)\$"
    rf"|(?P<e>[^\s$]*\\[a-zA-Z]+[^\s$]*)|(?P<f>{_NUMBER})",
    re.DOTALL,
)


def final_answer(text: str) -> str | None:
    """The final answer that the text states, in its own notation; ``None`` if it states none."""
    boxed = _boxed(text)
    if boxed is not None:
        return boxed
    hashes: list[str] = _HASHES.findall(text)
    return hashes[-1].strip() if hashes else _said(text)


def last_expression(text: str) -> str | None:
    """The expression or number that ends last in a text; ``None`` if there is neither."""
    matches = list(_EXPRESSION.finditer(text[-LONGEST:]))
    return next(filter(None, matches[-1].groups()), None) if matches else None


def _boxed(text: str) -> str | None:
    """The content of the last box; several boxes joined by commas, "and" or "or" are a list."""
    openings = list(_BOX.finditer(text))[-_LAST:]
    boxes = [(box.start(), *_content(text[box.end() :][:LONGEST], box.end(), box.group()[-1])) for box in openings]
    boxes = [box for box in boxes if box[2].strip()]
    if not boxes:
        return None
    start, _, last = boxes[-1]
    joined = [last]
    for before, end, content in reversed(boxes[:-1]):
        if start - end > 40 or not _JOINED.fullmatch(text[end:start]):
            break
        if content not in joined:
            joined.insert(0, content)
        start = before
    return ", ".join(joined)


def _content(text: str, at: int, opening: str) -> tuple[int, str]:
    """Where a box ends, and its content. A box that is never closed ends with its line or its formula.

    Args:
        text: what follows the opening, which ends at ``at`` in the whole text.
        opening: the last character of the opening.
    """
    if opening != "{":
        number = _BARE.match(text)
        return (at, "") if number is None else (at + number.end(), number.group())
    depth = 1
    for token in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(token.group(), 0)
        if depth == 0:
            return at + token.end(), text[: token.start()]
    rest = _UNCLOSED.match(text)
    assert rest is not None
    return at + rest.end(), rest.group().removesuffix("\\)").removesuffix("\\]")


def _said(text: str) -> str | None:
    """What follows the last "the answer is" or "answer:", up to the end of the sentence."""
    lower, at = text.lower(), len(text)
    for _ in range(_LAST):
        at = lower.rfind("answer", 0, at)
        if at < 0:
            return None
        match = _SAID.match(text[at : at + LONGEST])
        if match is not None:
            return match[1].strip()
    return None
