"""By introspection, so that nothing new escapes: every public name is there, documented and typed."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
from pathlib import Path
from types import FunctionType

import pytest

import relay_core

ROOT = Path(relay_core.__file__).parents[1]
PACKAGES = [p for p in ("relay_core", "langchain_relay", "llamaindex_relay") if (ROOT / p / "__init__.py").exists()]
CONTRACT = (
    "Relay RelaySettings RelayResult Segment Usage Prices TransformersEngine VLLMEngine OpenAIEngine ScriptedEngine "
    "engine_from_spec CommandScanner Text Call Malformed RelayError TextDelta CallStarted CallEnded Finished"
).split()


def modules() -> list[str]:
    found = []
    for package in PACKAGES:
        found.append(package)
        paths = [str(ROOT / package)]
        found += [m.name for m in pkgutil.walk_packages(paths, f"{package}.") if not m.name.endswith("__main__")]
    return found


def test_all_is_what_can_be_imported_by_name() -> None:
    assert sorted(relay_core.__all__) == sorted([*relay_core._HOME, "__version__"])
    assert set(relay_core.__all__) <= set(dir(relay_core))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Rely'"):
        _ = relay_core.Rely  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CONTRACT)
def test_names_that_others_rely_on_are_exported(name: str) -> None:
    assert name in relay_core.__all__


@pytest.mark.parametrize("name", [n for n in relay_core.__all__ if n != "__version__"])
def test_a_public_name_and_its_methods_are_documented(name: str) -> None:
    value = getattr(relay_core, name)
    undocumented = [] if inspect.getdoc(value) else [name]
    if inspect.isclass(value):
        undocumented += [
            f"{name}.{attribute}"
            for attribute, member in vars(value).items()
            if not attribute.startswith("_")
            and isinstance(member, (FunctionType, property, classmethod))
            and not inspect.getdoc(getattr(value, attribute))
        ]
    assert undocumented == []


@pytest.mark.parametrize("module", modules())
def test_a_module_says_what_it_is_for(module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    code = compile(source, spec.origin, "exec", dont_inherit=True)
    assert isinstance(code.co_consts[0], str), f"{module} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_engines_are_engines() -> None:
    from relay_core import Engine

    for name in ("TransformersEngine", "VLLMEngine", "OpenAIEngine", "ScriptedEngine", "Wrapped"):
        assert issubclass(getattr(relay_core, name), Engine)
