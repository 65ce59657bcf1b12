"""Every regular expression of ours is linear: the worst texts for each, up to a million characters.

The expressions are found, not listed: constants of modules, wherever they are, and the patterns within calls of ``re``.
The texts are made from each expression's own parts: whatever it may have matched so far, then one character again and
again. Time is the thread's own, and must not grow faster than the text.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("relay_core", "langchain_relay", "llamaindex_relay")
#: calls of ``re`` whose pattern is no constant, in functions; each is escaped or given by a user
BUILT = {
    "relay_core/evaluate/graders.py",  # a user's own pattern
    "relay_core/train/answers.py",  # a recipe's own pattern, for single tokens
    "relay_core/train/sections.py",  # the same; it is compiled only
    "relay_core/engines/openai/redaction.py",  # alternatives of escaped secrets
    "relay_core/engines/openai/refusals.py",  # names of our own parameters
    "relay_core/engines/openai/overflow.py",  # rows of a module's table, which is searched
}
#: expressions of which only so many characters of a text are ever searched, and the most seconds that this may take
_ANSWERS = [
    *("final_answer._SAID", "final_answer._EXPRESSION", "final_answer._JOINED", "notation._RULES", "quantity.GROUPED"),
    *("structure._MATRIX", "compare._NAME", "compare._WORDS", "compare._MEMBER"),
]
_NUMBERS = ("_FORMS", "_WORDS", "_PERCENT")
BOUNDED = {
    "relay_core.engines.openai.overflow._ROWS": (4_000, 1.0),
    **{f"relay_core.evaluate.grading.{name}": (1_000, 0.2) for name in _ANSWERS},
    **{f"relay_core.evaluate.grading.quantity.{name}": (200, 0.1) for name in _NUMBERS},
}
FILLERS = (" ", "\n", "a", "Z", "0", ",", ".", "-", "_", "/", "<", "(", "{", "\\", '"', ":", "@", "\x00")
#: at these sizes a text that takes less than ``FAST_S`` shows that nothing is quadratic; otherwise its double is tried
SIZES = (250, 1_000, 4_000, 16_000)
FAST_S = 0.005
MILLION = 1_000_000


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__main__.py":
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def constants(value: Any, module: ModuleType, depth: int = 0) -> Iterator[re.Pattern[Any]]:
    """The expressions in a module's constant, also within tables and dataclasses."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth < 4:
        if isinstance(value, dict):
            value = list(value.values())
        elif hasattr(value, "__dataclass_fields__") and type(value).__module__ == module.__name__:
            value = [getattr(value, name, None) for name in value.__dataclass_fields__]
        for item in value if isinstance(value, (list, tuple, set, frozenset)) else ():
            yield from constants(item, module, depth + 1)


def expressions() -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """Where each expression stands, the expression, and the method that it is used with."""
    for name, path in modules():
        source = path.read_text()
        if "re." not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args):
                continue
            method = ast.unparse(node.func).removeprefix("re.")
            if method != "compile" and isinstance(node.args[0], ast.Constant):
                yield f"{name}:{node.lineno}", re.compile(node.args[0].value), method
        if not re.search(r"\bre\.compile\(", source):
            continue
        for constant, value in vars(importlib.import_module(name)).items():
            used = sorted(
                set(
                    re.findall(
                        rf"\b{re.escape(constant)}\.(match|fullmatch|search|findall|finditer|sub|split)\b", source
                    )
                )
            )
            for pattern in constants(value, importlib.import_module(name)):
                for method in used or ["search"]:
                    yield f"{name}.{constant}", pattern, method


def beginnings(pattern: re.Pattern[Any]) -> list[str]:
    """Texts that the expression may have matched when it comes to each of its parts."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    found: dict[str, None] = {"": None}
    _walk(re._parser.parse(text, pattern.flags & ~re.UNICODE), "", found)  # type: ignore[attr-defined]
    return list(found)[:20]


def _walk(parts: Any, before: str, found: dict[str, None]) -> str:
    """Note what may stand before each part; returns a text that the whole may match."""
    for kind, value in parts:
        name = str(kind)
        if name != "LITERAL":
            found[before] = None
        if name == "LITERAL":
            before += chr(value)
        elif name in ("NOT_LITERAL", "ANY"):
            before += "x"
        elif name == "IN":
            before += _member(value)
        elif name == "SUBPATTERN":
            before = _walk(value[-1], before, found)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, _, inner = value
            after = _walk(inner, before, found)
            before += (after[len(before) :]) * max(least, 1)
        elif name == "BRANCH":
            before, *_ = [_walk(branch, before, found) for branch in value[1]]
        elif name in ("ASSERT", "ATOMIC_GROUP"):
            _walk(value[-1] if name == "ASSERT" else value, before, found)
    found[before] = None
    return before


def _member(items: Any) -> str:
    kind, value = items[0]
    if str(kind) == "NEGATE":
        return "x"
    if str(kind) == "LITERAL":
        return chr(value)
    if str(kind) == "RANGE":
        return chr(value[0])
    return {"CATEGORY_SPACE": " ", "CATEGORY_DIGIT": "0"}.get(str(value), "a")


def seconds(pattern: re.Pattern[Any], method: str, text: str) -> float:
    subject: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")
    arguments = ("", subject) if method == "sub" else (subject,)
    began = time.thread_time()
    if method == "finditer":
        for _ in pattern.finditer(subject):
            pass
    else:
        getattr(pattern, method)(*arguments)
    return time.thread_time() - began


def worst_texts(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    for beginning in beginnings(pattern):
        for filler in FILLERS:
            text = (beginning + filler * (size - len(beginning)))[:size]
            yield text
            yield text[:-1] + "\x01"  # where an expression that needs an end does not find it
            if beginning:
                block = beginning + filler * 3
                yield (block * (size // len(block) + 1))[:size]


def superlinear(pattern: re.Pattern[Any], method: str) -> str | None:
    """A text on which the time grows faster than the text, as words; ``None`` if there is none."""
    for size in SIZES:
        for text, double in zip(worst_texts(pattern, size), worst_texts(pattern, 2 * size), strict=True):
            if seconds(pattern, method, text) < FAST_S:
                continue
            for _ in range(2):  # once more: a busy machine is slow for a while
                taken = [min(seconds(pattern, method, t) for _ in range(3)) for t in (text, double)]
                if taken[1] <= 3 * taken[0]:
                    break
            else:
                return f"{text[:40]!r}...: {taken} s at {size} characters and twice as many"
    for text in itertools.islice(worst_texts(pattern, MILLION), 40):
        if (taken_s := seconds(pattern, method, text)) > 2:
            return f"{text[:40]!r}...: {taken_s} s at a million characters"
    return None


FOUND = list(dict.fromkeys(expressions()))


@pytest.mark.parametrize(
    ("pattern", "method"),
    [pytest.param(p, method, id=f"{where}-{method}") for where, p, method in FOUND if where not in BOUNDED],
)
def test_it_is_linear(pattern: re.Pattern[Any], method: str) -> None:
    assert superlinear(pattern, method) is None


@pytest.mark.parametrize("name", BOUNDED)
def test_an_expression_for_short_texts_is_fast_on_the_longest_of_them(name: str) -> None:
    size, most_s = BOUNDED[name]
    for where, pattern, method in FOUND:
        if where == name:
            for text in itertools.islice(worst_texts(pattern, size), 0, None, 7):
                assert seconds(pattern, method, text) < most_s, (pattern, text[:40])


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\\boxed\{\s*([^{}]*?)\s*\}", "findall"),  # the bundled task's until issue 14
        (r"\\boxed\{\s*(?:\\text\{)?\s*([A-Z])", "findall"),  # a grader's until issue 14
        (r"\s+$", "search"),
        (r'"(?:[^"\\]|\\.)*x', "search"),
    ],
)
def test_the_test_finds_expressions_that_are_not_linear(pattern: str, method: str) -> None:
    assert superlinear(re.compile(pattern), method) is not None


def test_every_expression_is_found() -> None:
    names = {
        where.split(":")[0].rpartition(".")[0] if ":" not in where else where.split(":")[0] for where, _, _ in FOUND
    }
    for name, path in modules():
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        ours = [
            n
            for n in calls
            if re.match(r"re\.(compile|match|fullmatch|search|sub|split|findall|finditer)$", ast.unparse(n.func))
        ]
        if ours:
            assert name in names or str(path.relative_to(ROOT)) in BUILT, path
        for call in ours:
            functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
            inside = any(f.lineno <= call.lineno <= (f.end_lineno or 0) for f in functions)
            if inside and not isinstance(call.args[0], ast.Constant):
                assert str(path.relative_to(ROOT)) in BUILT, f"{path}:{call.lineno}"
