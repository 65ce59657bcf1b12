"""Answers over HTTP: deadlines, a stream, an answer that ends when its reader leaves, and an orderly shutdown.

    cd docs/examples
    uvicorn fastapi_app:app --port 8080 --timeout-graceful-shutdown 35
    curl -N localhost:8080/stream -H 'Content-Type: application/json' -d '{"question": "A pen costs 62 coins. …"}'

RELAY_STUDENT and RELAY_TEACHER name the two models; without them, the bundled pair answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from relay_core import ConfigurationError, EngineError, Relay, RelayResult, RelaySettings, TextDelta

DEADLINE_S = 30  # an answer that takes longer ends with what it has; shorter than the graceful shutdown of the server
MOST_ANSWERS = 64  # at a time, in this worker
CLIENT_LEFT = 499


class Question(BaseModel):
    question: str


def relay_from_environment() -> Relay:
    """Build the relay; it loads its models when it starts."""
    student, teacher = os.environ.get("RELAY_STUDENT", "bundled"), os.environ.get("RELAY_TEACHER", "bundled")
    return Relay(student, teacher, RelaySettings(deadline_s=DEADLINE_S))


async def answer_unless_left(relay: Relay, question: str, request: Request) -> RelayResult:
    """The answer. It is cancelled if the client leaves, and with it the work of both models."""
    answer = asyncio.create_task(relay.agenerate(question))
    try:
        while not answer.done():
            await asyncio.wait([answer], timeout=0.2)
            if await request.is_disconnected():
                raise HTTPException(CLIENT_LEFT)
        return answer.result()
    finally:
        answer.cancel()
        await asyncio.wait([answer])


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
            try:
                result = await answer_unless_left(app.state.relay, body.question, request)
            except ConfigurationError as error:  # the prompt cannot be used
                raise HTTPException(422, str(error)) from error
            except EngineError as error:  # the student failed; a failure of the teacher is in result.failures
                raise HTTPException(502, str(error)) from error
        return {"text": result.text, "finish_reason": result.finish_reason, "call_ratio": result.usage.call_ratio}

    @app.post("/stream")
    async def stream(body: Question) -> StreamingResponse:
        async def text() -> AsyncIterator[str]:
            async with place(), contextlib.aclosing(app.state.relay.astream(body.question)) as events:
                async for event in events:  # cancelled by the server if the client leaves
                    if isinstance(event, TextDelta):
                        yield event.text

        return StreamingResponse(text(), media_type="text/plain; charset=utf-8")

    @app.get("/health")
    async def health() -> dict[str, bool]:
        return {"ready": True}

    return app


app = create_app()
