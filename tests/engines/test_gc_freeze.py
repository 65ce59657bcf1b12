"""Imported modules are excluded from garbage collections, once in a process; models are not."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import asyncio, gc, weakref
from relay_core import TransformersEngine, bundled
from relay_core.engines.gc_freeze import freeze_imports

async def one():
    engine = TransformersEngine(bundled.path("student-relay"))
    await engine.start()
    model = weakref.ref(engine._model)
    await engine.aclose()
    return model

assert gc.get_freeze_count() == 0
model = asyncio.run(one())
frozen = gc.get_freeze_count()
assert frozen > 100_000, frozen  # torch and transformers
gc.collect()
assert model() is None  # a model is not frozen
freeze_imports()
assert gc.get_freeze_count() <= frozen
"""


def test_imports_are_frozen_once_and_models_are_not() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
