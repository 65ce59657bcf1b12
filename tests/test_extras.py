"""Importing large libraries from several threads; the reports of extras are tested by tests/test_cli.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Two engines that start at the same time load their tokenizers in two threads.
TOGETHER = """
import sys, threading
sys.setswitchinterval(1e-6)
from relay_core import bundled
from relay_core.tokenizer import Tokenizer
start, errors = threading.Barrier(8), []
def load():
    start.wait()
    try:
        Tokenizer.load(bundled.path("teacher"))
    except Exception as error:
        errors.append(repr(error))
threads = [threading.Thread(target=load) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(errors)
"""


@pytest.mark.slow
def test_tokenizers_that_load_at_the_same_time_all_load() -> None:
    """transformers replaces its modules while they load: another thread was told that a name is missing."""
    done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, check=True, timeout=150)
    assert done.stdout.strip() == "[]"
