"""Forked children: locks and counters are reset there, and a model that the parent loaded is refused.

``os.fork()`` copies the memory of a process, but only the thread that forks. In the child, a lock that another thread
held is never released, requests that were counted never finish, and the threads, connections and GPU contexts of a
loaded model do not work. An engine that was built but has loaded nothing has none of these, and works in the child.
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
        """Drop everything that belongs to the parent process. Called in the child before any other code runs."""


_objects: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_kept: list[object] = []


def in_child(function: Callable[[], None]) -> None:
    """Arrange for ``function`` to be called in every child that is forked from this process."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(after_in_child=function)


def watch_forks(item: ForkAware) -> None:
    """Arrange for ``item.forget_parent()`` to be called in every forked child, as long as ``item`` exists."""
    _objects.add(item)


def keep_unused(*items: object) -> None:
    """Keep references to the parent's objects in the child, without using them.

    If they were garbage-collected in the child, a connection would be closed, or an engine's process stopped, for the
    parent as well.
    """
    _kept.extend(items)


def model_lost(spec: str) -> ConfigurationError:
    """The error for an engine whose model was loaded before the fork."""
    return ConfigurationError(
        f"{spec}: its model was loaded before this process was forked, and a loaded model does not survive a fork. "
        "Load it in the child: build the Relay after the fork, or do not use it before the fork (gunicorn: without "
        "--preload, or in the hook post_fork; Celery: in the signal worker_process_init; multiprocessing: with the "
        "start method spawn). See docs/operations.md"
    )


def _forget_parents() -> None:
    for item in list(_objects):
        item.forget_parent()


in_child(_forget_parents)
