"""One async function of many items, on one or many machines, by Ray Data.

    spread(answer, items, keep, cluster=Cluster())

The driver, which calls :func:`spread`, starts actors on the machines of a Ray cluster. Each actor receives the
function once, pickled. Engines are pickled as their specs, without a model, a connection or a key: an actor loads the
models, and reads the keys from the environment of its machine. Items go to the actors in blocks, and the results of a
block come back as soon as it is complete, so the driver can keep them, and no file system is shared.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from relay_core.errors import ConfigurationError, EngineError, MissingExtraError, RelayError
from relay_core.evaluate.ray_actor import Actor, Failed

Item = TypeVar("Item")
Result = TypeVar("Result")

BLOCK = 4
"""Items in a block: what a kill loses at most is a few blocks of each actor."""
RESTARTS = 3
"""How often an actor that dies is started again; its blocks are done again."""
_CONNECT_S = 20.0
_STALLED_S = 6 * 3600.0  # without one result; Ray's own limit is half an hour, which a queue for GPUs can exceed


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines to run on.

    Args:
        address: ``HOST:PORT`` of a Ray cluster, or ``"local"`` for a Ray of this machine alone, which ends with the
            work. ``None`` means the cluster that ``RAY_ADDRESS`` names or that runs on this machine; without one, a Ray
            of this machine alone.
        actors: the number of actors, each with its own engines. ``None`` means as many as the GPUs allow; without GPUs,
            one per machine.
        gpus: GPUs of each actor. ``None`` means 1 if the cluster has GPUs and a model runs in the actors, otherwise 0.
        cpus: CPUs of each actor, which are also the threads of its model.

    Raises:
        ConfigurationError: a number is out of its range.
    """

    address: str | None = None
    actors: int | None = None
    gpus: float | None = None
    cpus: int = 1

    def __post_init__(self) -> None:
        if self.actors is not None and self.actors < 1:
            raise ConfigurationError(f"{self.actors} actors: write 1 or more, or leave the number out")
        if self.gpus is not None and self.gpus < 0:
            raise ConfigurationError(f"{self.gpus} GPUs per actor: write 0 or more, or leave the number out")


def spread(
    answer: Callable[[Item], Awaitable[Result]],
    items: Sequence[Item],
    keep: Callable[[int, Result], None],
    *,
    cluster: Cluster,
    limit: int,
    uses_gpu: bool = True,
) -> None:
    """Await ``answer(item)`` for every item, in the actors.

    Args:
        answer: an async function; what it holds is pickled once for each actor. Engines must be named by specs.
        items: the items; they, and the results, are pickled.
        keep: called here with an item's position and its result, in the order in which results come.
        cluster: the machines.
        limit: how many items an actor answers at a time.
        uses_gpu: whether an actor holds a model.

    Raises:
        ConfigurationError: ``answer`` cannot be pickled, the cluster cannot be reached, or no machine has the CPUs and
            GPUs of one actor.
        MissingExtraError: Ray is not installed.
        RelayError: what ``answer`` raised for an item, after the other results of its block were kept.
        EngineError: an actor died again and again.
    """
    ray = _ray()
    pickled = ray.cloudpickle.dumps(answer)
    with _connected(ray, cluster), _quiet(ray), _translated(ray):
        for batch in _batches(ray, pickled, items, cluster, limit, uses_gpu):
            failures = []
            for index, data in zip(batch["index"].to_pylist(), batch["data"].to_pylist(), strict=True):
                result = pickle.loads(data)
                if isinstance(result, Failed):
                    failures.append(result.error)
                else:
                    keep(index, result)
            if failures:
                raise failures[0]


def _batches(
    ray: Any, pickled: bytes, items: Sequence[Any], cluster: Cluster, limit: int, uses_gpu: bool
) -> Iterator[Any]:
    """Tables of ``index`` and ``data``, a pickled result, in the order in which they come."""
    blocks = -(-len(items) // BLOCK)
    gpus, actors = _sizes(ray, cluster, uses_gpu)
    rows = [{"index": index, "data": ray.cloudpickle.dumps(item)} for index, item in enumerate(items)]
    calls = -(-2 * limit // BLOCK)  # a block with one slow item keeps no other item waiting
    compute = ray.data.ActorPoolStrategy(
        size=min(actors, blocks),
        max_concurrent_calls_per_actor=calls,
        max_tasks_in_flight_per_actor=calls,
        enable_true_multi_threading=True,
    )
    with warnings.catch_warnings():
        # Without max_restarts, Ray would start an actor that always dies again and again, without end. Releases before
        # 2.64 take it, with a warning; pyproject.toml excludes later ones.
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        answered = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            Actor,
            fn_constructor_args=(pickled, limit),
            batch_size=None,  # a block as it is
            batch_format="pyarrow",
            compute=compute,
            num_cpus=cluster.cpus,
            num_gpus=gpus,
            max_restarts=RESTARTS,
            max_task_retries=-1,  # as long as the actor is started again; one that is only slow to start costs a retry
        )
    yield from answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def _sizes(ray: Any, cluster: Cluster, uses_gpu: bool) -> tuple[float, int]:
    """GPUs per actor, and the number of actors."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = max(machine.get("GPU", 0.0) for machine in machines)
    gpus = cluster.gpus if cluster.gpus is not None else float(uses_gpu and most >= 1)
    if not any(m.get("GPU", 0.0) >= gpus and m.get("CPU", 0.0) >= cluster.cpus for m in machines):
        raise ConfigurationError(
            f"an actor needs {cluster.cpus} CPUs and {gpus:g} GPUs, and no machine of the Ray cluster has them (the "
            f"most are {max(m.get('CPU', 0.0) for m in machines):g} CPUs and {most:g} GPUs): write fewer, or start the "
            "machine first"
        )
    if cluster.actors is not None:
        return gpus, cluster.actors
    return gpus, sum(int(m.get("GPU", 0.0) / gpus) for m in machines) if gpus else len(machines)


def _ray() -> Any:
    try:
        import ray
        import ray.cloudpickle
        import ray.data
    except ImportError as error:
        raise MissingExtraError("Ray Data (--ray)", "ray") from error
    return ray


@contextmanager
def _connected(ray: Any, cluster: Cluster) -> Iterator[None]:
    """Join the cluster, and leave it afterwards; a connection that the caller made is used, and stays."""
    if ray.is_initialized():
        yield
        return
    _check_address(cluster.address or os.environ.get("RAY_ADDRESS", ""))
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=cluster.address, include_dashboard=False, logging_level="ERROR")
    except Exception as error:  # Ray raises bare ones, too
        raise ConfigurationError(f"Ray cannot be used: {_first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()
        if in_main:
            signal.signal(signal.SIGTERM, handler)  # Ray has replaced it


def _check_address(address: str) -> None:
    """Refuse an address where nothing answers; Ray would try it again for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return  # such as "local"
    try:
        socket.create_connection((host.removeprefix("ray://"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"no Ray cluster answers at {address} ({error}): write the HOST:PORT that `ray start --head` prints"
        ) from error


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ray Data without its progress bars and its remarks on the terminal, and with patience."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = _STALLED_S
    handlers = [h for h in logging.getLogger("ray.data").handlers if isinstance(h, logging.StreamHandler)]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)  # the driver raises what went wrong; Ray's own log has the tracebacks
    try:
        with ray.data.DataContext.current(context):
            yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


@contextmanager
def _translated(ray: Any) -> Iterator[None]:
    """Turn failures of actors and machines into EngineError; a fault in the code of an actor is raised as it is."""
    from ray.data.exceptions import ExecutionTimeoutError

    try:
        yield
    except RelayError:
        raise
    except ray.exceptions.RayTaskError:
        raise
    except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
        raise EngineError(
            "an actor of Ray or its machine was lost again and again, most often for want of memory: write fewer "
            f"actors per machine, or a smaller cache; Ray says: {_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
