"""Answers over HTTP: deadlines, a stream, an answer that ends when its reader leaves, and an orderly shutdown.

    cd docs/examples
    uvicorn fastapi_app:app --port 8080 --timeout-graceful-shutdown 35
    curl -N localhost:8080/stream -H 'Content-Type: application/json' -d '{"question": "What is 27 times 8?"}'

RELAY_STUDENT and RELAY_TEACHER name the two models; without them, the bundled pair answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from relay_core import ConfigurationError, EngineError, Event, Relay, RelaySettings, TextDelta

T = TypeVar("T")

DEADLINE_S = 30  # an answer that takes longer ends with what it has; shorter than the graceful shutdown of the server
MOST_ANSWERS = 64  # at a time, in this worker
CLIENT_LEFT = 499


class Question(BaseModel):
    question: str


def relay_from_environment() -> Relay:
    """Build the relay; it loads its models when it starts."""
    student, teacher = os.environ.get("RELAY_STUDENT", "bundled"), os.environ.get("RELAY_TEACHER", "bundled")
    return Relay(student, teacher, RelaySettings(deadline_s=DEADLINE_S))


async def unless_left(work: Awaitable[T], request: Request) -> T:
    """The result of ``work``, which is cancelled if the client leaves, and with it the work of both models."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=0.2)
            if await request.is_disconnected():
                raise HTTPException(CLIENT_LEFT)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextlib.contextmanager
def errors_as_status() -> Iterator[None]:
    """Turn errors into HTTP statuses. A failure of the teacher is none: ``result.failures`` holds it."""
    try:
        yield
    except ConfigurationError as error:  # the prompt cannot be used
        raise HTTPException(422, str(error)) from error
    except EngineError as error:  # the student failed
        raise HTTPException(502, str(error)) from error


class TextStream(StreamingResponse):
    """The text of an answer whose first event has come.

    ``resources`` are closed in every case, even if the client leaves before the first piece of text is sent.
    """

    def __init__(self, first: Event, events: AsyncIterator[Event], resources: contextlib.AsyncExitStack) -> None:
        async def text() -> AsyncIterator[str]:
            if isinstance(first, TextDelta):
                yield first.text
            async for event in events:  # cancelled by the server if the client leaves
                if isinstance(event, TextDelta):
                    yield event.text

        super().__init__(text(), media_type="text/plain; charset=utf-8")
        self._resources = resources

    async def __call__(self, *asgi: Any) -> None:
        async with self._resources:
            await super().__call__(*asgi)


def create_app(build: Callable[[], Relay] = relay_from_environment) -> FastAPI:
    """The application. ``build`` is called in the worker, when it starts: nothing is loaded before."""
    free = asyncio.Semaphore(MOST_ANSWERS)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with build() as relay:  # leaving the block closes both models, after the last answer
            await relay.start()  # the worker takes requests when the models are loaded
            app.state.relay = relay
            yield

    app = FastAPI(lifespan=lifespan)

    @contextlib.asynccontextmanager
    async def place() -> AsyncIterator[None]:
        if free.locked():
            raise HTTPException(503, "too many answers at a time", {"Retry-After": "1"})
        async with free:
            yield

    @app.post("/answer")
    async def answer(body: Question, request: Request) -> dict[str, Any]:
        async with place():
            with errors_as_status():
                result = await unless_left(app.state.relay.agenerate(body.question), request)
        return {"text": result.text, "finish_reason": result.finish_reason, "call_ratio": result.usage.call_ratio}

    @app.post("/stream")
    async def stream(body: Question, request: Request) -> TextStream:
        async with contextlib.AsyncExitStack() as resources:
            await resources.enter_async_context(place())
            events = await resources.enter_async_context(contextlib.aclosing(app.state.relay.astream(body.question)))
            with errors_as_status():  # the first event decides the status; a later error breaks the body off
                first = await unless_left(anext(events), request)
            return TextStream(first, events, resources.pop_all())

    @app.get("/health")
    async def health() -> dict[str, bool]:
        return {"ready": True}

    return app


app = create_app()
