"""A thread that steps vLLM's ``LLMEngine``, and readers of its outputs on event loops.

One thread at a time may use an ``LLMEngine``: the thread of a :class:`Stepper` during a rollout, otherwise the
trainer's thread. All other threads queue commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from relay_core.errors import EngineError

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.llm_engine import LLMEngine

_numbers = itertools.count()


@dataclass(eq=False)
class Reader:
    """The consumer of one request, on the event loop that runs now. ``is_over``: there is nothing more to read."""

    id: str = field(default_factory=lambda: f"relay-{next(_numbers)}")
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    outputs: asyncio.Queue[RequestOutput | Exception] = field(default_factory=asyncio.Queue)
    is_over: bool = False

    async def next(self) -> RequestOutput:
        """The next output; raises the EngineError that ended the request."""
        output = await self.outputs.get()
        if isinstance(output, Exception):
            self.is_over = True
            message = output.message if isinstance(output, EngineError) else f"{type(output).__name__}: {output}"
            raise EngineError(f"vLLM failed: {message}") from output
        self.is_over = output.finished
        return output


class Command(NamedTuple):
    """Begin a request with these ids and parameters; without ids, end it. Without a reader, end the thread."""

    reader: Reader | None = None
    ids: list[int] | None = None
    params: SamplingParams | None = None


class Stepper:
    """The only user of vLLM's engine from construction to :meth:`stop`.

    Its thread works on the CUDA stream of the thread that made it, on which the weights were written.
    """

    def __init__(self, llm_engine: LLMEngine) -> None:
        self._llm = llm_engine
        self._readers: dict[str, Reader] = {}
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._lock = threading.Lock()  # held to queue a command, and to end: no command is queued after the end
        self._ended_by: Exception | None = None
        stream = _stream_of_this_thread()
        self._thread = threading.Thread(target=self._run, args=(stream,), name="relay-vllm", daemon=True)
        self._thread.start()

    def begin(self, reader: Reader, ids: list[int], params: SamplingParams) -> None:
        """Begin a request before the next step; raises EngineError if the thread has ended."""
        self._queue(Command(reader, ids, params))

    def end(self, reader: Reader) -> None:
        """End a request before the next step."""
        with contextlib.suppress(EngineError):  # it ended with the thread
            self._queue(Command(reader))

    def stop(self) -> None:
        """End the thread after the present step, and every request that still runs."""
        with contextlib.suppress(EngineError):
            self._queue(Command())
        self._thread.join()

    def _queue(self, command: Command) -> None:
        with self._lock:
            if self._ended_by is not None:
                raise EngineError(f"vLLM has stopped: {self._ended_by}") from self._ended_by
            self._commands.put(command)

    # -- on the thread -------------------------------------------------------------------------------------

    def _run(self, stream: Any) -> None:
        ended_by: Exception = EngineError("the rollout is over")
        try:
            if stream is not None:
                import torch

                torch.cuda.set_device(stream.device)
                torch.cuda.set_stream(stream)
            while self._obey():
                self._deliver(self._llm.step())
        except Exception as error:
            ended_by = error
        with self._lock:
            self._ended_by = ended_by
        readers = list(self._readers.values())
        while not self._commands.empty():
            command = self._commands.get()
            if command.reader is not None and command.ids is not None:
                readers.append(command.reader)
        with contextlib.suppress(Exception):
            self._llm.abort_request(list(self._readers))
        _send([(reader, ended_by) for reader in readers])

    def _obey(self) -> bool:
        """Carry out the commands that wait; without requests, wait for one. ``False`` ends the thread."""
        while not self._llm.has_unfinished_requests() or not self._commands.empty():
            reader, ids, params = self._commands.get()
            if reader is None:
                return False
            if ids is not None and params is not None:
                self._add(reader, ids, params)
            elif self._readers.pop(reader.id, None) is not None:
                self._llm.abort_request([reader.id])
        return True

    def _add(self, reader: Reader, ids: list[int], params: SamplingParams) -> None:
        try:
            self._llm.add_request(reader.id, {"type": "token", "prompt_token_ids": ids}, params)
        except Exception as error:  # this request cannot be served; the others can
            _send([(reader, error)])
        else:
            self._readers[reader.id] = reader

    def _deliver(self, outputs: list[Any]) -> None:
        """Pass the outputs of a step to their readers."""
        sent = []
        for output in outputs:
            reader = self._readers.get(output.request_id)
            if reader is not None:
                sent.append((reader, output))
                if output.finished:
                    del self._readers[output.request_id]
        _send(sent)


def _send(items: list[tuple[Reader, Any]]) -> None:
    """Put outputs into their readers' queues, with one call for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Reader, Any]]] = {}
    for item in items:
        by_loop.setdefault(item[0].loop, []).append(item)
    for loop, group in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody reads any more
            loop.call_soon_threadsafe(_put_all, group)


def _put_all(items: list[tuple[Reader, Any]]) -> None:
    for reader, output in items:
        reader.outputs.put_nowait(output)


def _stream_of_this_thread() -> Any:
    """The current CUDA stream; ``None`` without a GPU."""
    import torch

    return torch.cuda.current_stream() if torch.cuda.is_available() else None
