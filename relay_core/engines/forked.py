"""Forked children: locks and counters begin anew there, and a model that the parent loaded is refused.

``os.fork()`` copies the memory of a process, but of its threads only the one that forked. In the child, a lock that
another thread held is never released, requests that were counted are never finished, and the threads, connections and
GPU contexts of a loaded model do not work. An engine that was only built has none of these and works in the child.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol

from relay_core.errors import ConfigurationError


class ForkAware(Protocol):
    """An object that a fork affects."""

    def forget_parent(self) -> None:
        """Give up what belongs to the parent process. Called in the child, before anything else runs there."""


_objects: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_kept: list[object] = []


def in_child(function: Callable[[], None]) -> None:
    """Have ``function`` called in every child that is forked from this process."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(after_in_child=function)


def watch_forks(item: ForkAware) -> None:
    """Have ``item.forget_parent()`` called in every forked child, for as long as ``item`` lives."""
    _objects.add(item)


def keep_unused(*items: object) -> None:
    """Keep the parent's objects alive in the child without using them.

    Collected as garbage there, a connection would be closed, or an engine would stop its process, for the parent too.
    """
    _kept.extend(items)


def model_lost(spec: str) -> ConfigurationError:
    """The error of an engine whose model was loaded before the fork."""
    return ConfigurationError(
        f"{spec}: its model was loaded before this process was forked, and a loaded model does not survive a fork. "
        "Load it in the child: build the Relay after the fork, or answer nothing with it before (gunicorn: without "
        "--preload, or in the hook post_fork; Celery: in the signal worker_process_init; multiprocessing: with the "
        "start method spawn). See docs/operations.md"
    )


def _forget_parents() -> None:
    for item in list(_objects):
        item.forget_parent()


in_child(_forget_parents)
