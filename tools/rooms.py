"""Checks the sizes of modules and functions, and the direction of the imports between the rooms.

    .venv/bin/python tools/rooms.py [ROOT]

It prints the largest modules, the longest functions and the median module, then one line for each violation. The exit
code is 1 if there is a violation, else 0. CONTRIBUTING.md draws the rooms; ruff (PLR0912) counts branches.

Every import counts: at the top of a module, inside a function, under TYPE_CHECKING, or as a string that names one of
our modules (``"relay_core.relay"``, ``"relay_core.bundled.task:BundledTask"``), since ``import_module`` takes such
strings.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MAX_MODULE_LINES = 400
MAX_RELAY_LINES = 300
MAX_MEDIAN_LINES = 110
MAX_FUNCTION_LINES = 60

PACKAGES = ("relay_core", "langchain_relay", "llamaindex_relay")
#: folders whose modules are checked; tests are not
FOLDERS = (*PACKAGES, "testing", "benchmarks", "tools", "docs")

PLUGINS = ("langchain_relay", "llamaindex_relay")
USERS_OF_CORE = (*(f"relay_core.{room}" for room in ("serve", "evaluate", "train", "cli", "bundled")), *PLUGINS)


@dataclass(frozen=True)
class Rule:
    """The modules in ``importers`` must not import a module in ``forbidden``, except those in ``allowed``.

    Each entry names a module, or a package with everything in it. ``excluded`` removes modules from ``importers``.
    """

    importers: tuple[str, ...]
    forbidden: tuple[str, ...]
    reason: str
    excluded: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


RULES = (
    Rule(
        ("relay_core",),
        USERS_OF_CORE,
        "the core imports none of its users",
        excluded=USERS_OF_CORE,
    ),
    Rule(
        ("relay_core.decoding",),
        ("relay_core.engines",),
        "decoding knows the protocol of an engine and no concrete engine",
        allowed=("relay_core.engines.base",),
    ),
    Rule(
        ("relay_core.command", "relay_core.transcript"),
        PACKAGES,
        "the grammar and the transcript import nothing of ours but errors",
        allowed=("relay_core.errors",),
    ),
    Rule(
        ("relay_core.train", "relay_core.evaluate", "relay_core.cli", "relay_core.serve", *PLUGINS),
        ("relay_core.bundled",),
        "they take a task and engine specs, and work for any of them",
    ),
    Rule(
        ("relay_core.evaluate", "relay_core.serve", *PLUGINS),
        ("relay_core.train", "relay_core.cli"),
        "training and the command line are built on them",
    ),
    Rule(PLUGINS, ("relay_core.serve", "relay_core.evaluate"), "a plugin needs the core only"),
    Rule(("langchain_relay",), ("llamaindex_relay",), "one plugin works without the other"),
    Rule(("llamaindex_relay",), ("langchain_relay",), "one plugin works without the other"),
    Rule(
        (*PACKAGES, "tools", "docs"),
        ("testing", "tests", "benchmarks"),
        "only tests and benchmarks use testing, and nothing uses them",
    ),
    Rule(PACKAGES, ("tools",), "tools are for developers and do not ship"),
)

#: (importer, imported): why this import is allowed although it breaks a rule
EXCEPTIONS = {
    ("relay_core.engines.spec", "relay_core.bundled"): "a user names it: the spec bundled or bundled:NAME",
    ("relay_core.engines.scripted", "relay_core.bundled"): 'a user names it: ScriptedEngine(tokenizer="bundled")',
    ("relay_core.evaluate.task", "relay_core.bundled.task"): "a user names it: the task bundled",
    ("relay_core.evaluate.benchmarks.bundled", "relay_core.bundled.task"): "a user names it: the benchmark bundled",
    ("relay_core.evaluate.reproduce.students", "relay_core.train"): "the command of a process that trains",
}


@dataclass(frozen=True)
class Module:
    """One source file: its path relative to the root, its dotted name, its text and its syntax tree."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """Lines of the file, blank ones and comments included."""
        return len(self.text.splitlines())

    @property
    def package(self) -> str:
        """The package at which relative imports start."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def functions(self) -> Iterator[tuple[str, int]]:
        """The name and the number of lines of every function, docstring included and decorators excluded."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def read_modules(root: Path) -> list[Module]:
    """Every checked module below ``root``."""
    modules: list[Module] = []
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        relative = path.relative_to(root)
        text = path.read_text(encoding="utf-8")
        name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        modules.append(Module(relative, name, text, ast.parse(text, str(relative))))
    return modules


def imports_of(module: Module, names: set[str]) -> Iterator[tuple[int, str]]:
    """The line and the dotted name of every import of ``module``.

    Args:
        module: the importer.
        names: the names of all modules, which tell ``from package import module`` from ``from module import name``.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.package.split(".")[: len(module.package.split(".")) - node.level + 1]
                base = ".".join([*parent, base] if base else parent)
            for alias in node.names:
                full_name = f"{base}.{alias.name}"
                yield node.lineno, full_name if full_name in names else base
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named_module = node.value.partition(":")[0]
            if "." in named_module and named_module in names:
                yield node.lineno, named_module


def is_in(name: str, entries: tuple[str, ...]) -> bool:
    """Whether ``name`` is one of the modules or lies in one of the packages in ``entries``."""
    return any(name == entry or name.startswith(f"{entry}.") for entry in entries)


def import_violations(modules: list[Module]) -> Iterator[str]:
    """One line for each import that breaks a rule."""
    names = {module.name for module in modules}
    for module in modules:
        rules = [r for r in RULES if is_in(module.name, r.importers) and not is_in(module.name, r.excluded)]
        for line, imported in imports_of(module, names):
            for rule in rules:
                broken = is_in(imported, rule.forbidden) and not is_in(imported, rule.allowed)
                if broken and (module.name, imported) not in EXCEPTIONS:
                    yield f"{module.path}:{line}: {module.name} imports {imported}: {rule.reason}"


def size_violations(modules: list[Module]) -> Iterator[str]:
    """One line for each module or function that is too long, and one for the median."""
    for module in modules:
        limit = MAX_RELAY_LINES if module.name == "relay_core.relay" else MAX_MODULE_LINES
        if module.lines > limit:
            yield f"{module.path}: {module.lines} lines; at most {limit}"
        for function, lines in module.functions():
            if lines > MAX_FUNCTION_LINES:
                yield f"{module.path}: {function} has {lines} lines; at most {MAX_FUNCTION_LINES}"
    if (middle := median_lines(modules)) > MAX_MEDIAN_LINES:
        yield f"the median module has {middle:g} lines; at most {MAX_MEDIAN_LINES}"


def median_lines(modules: list[Module]) -> float:
    """The median number of lines of the packages' modules, ``__init__.py`` among them."""
    sizes = [module.lines for module in modules if is_in(module.name, PACKAGES)]
    return median(sizes) if sizes else 0


def main(root: Path) -> int:
    """Print the sizes and the violations; returns the exit code."""
    modules = read_modules(root)
    print(f"{len(modules)} modules; the median module of the packages has {median_lines(modules):g} lines")
    for module in sorted(modules, key=lambda module: -module.lines)[:10]:
        print(f"{module.lines:5} {module.path}")
    functions = [(lines, name, module.path) for module in modules for name, lines in module.functions()]
    print("longest functions")
    for lines, name, path in sorted(functions, key=lambda function: -function[0])[:10]:
        print(f"{lines:5} {path}: {name}")
    violations = [*size_violations(modules), *import_violations(modules)]
    print(f"{len(violations)} violations")
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))
