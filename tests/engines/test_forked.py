"""Every lock of ours begins anew in a forked child. What a fork does is tested in tests/test_operations.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

import relay_core

ROOT = Path(relay_core.__file__).parents[1]
#: a lock that belongs to a loaded model, which no child uses, or to an actor of Ray, in a process of its own
OF_A_LOADED_MODEL = {
    *(f"relay_core/engines/transformers/{name}.py" for name in ("grammars", "manager")),
    "relay_core/train/policies/stepper.py",
    "relay_core/evaluate/ray_actor.py",
}
RENEWING = {"forget_parent", "forget", "renew_lock", "_forget_parent", "_forget", "_renew_lock", "_begin_anew"}


def locks(node: ast.AST, function: str = "") -> Iterator[tuple[str, str]]:
    """Every assignment of a new lock: the name assigned to, and the function that it stands in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from locks(child, child.name)
            continue
        if isinstance(child, (ast.Assign, ast.AnnAssign)) and child.value and "Lock()" in ast.unparse(child.value):
            for target in child.targets if isinstance(child, ast.Assign) else [child.target]:
                for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                    yield ast.unparse(name).removeprefix("self."), function
        yield from locks(child, function)


def test_every_lock_is_renewed_in_a_forked_child() -> None:
    seen = 0
    for package in ("relay_core", "langchain_relay", "llamaindex_relay"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = path.relative_to(ROOT).as_posix()
            found = list(locks(ast.parse(path.read_text(encoding="utf-8"))))
            if module in OF_A_LOADED_MODEL:
                continue
            renewed = {name for name, function in found if function in RENEWING}
            assert {name for name, _ in found} == renewed, f"{module}: see relay_core/engines/forked.py"
            seen += len(renewed)
    assert seen >= 8
