"""Scripted engines behind an HTTP server with vLLM's protocol: exact answers at any rate of requests.

    python testing/scripted_server.py --port 8000 --delay-s 0.01

It serves two models, ``student`` and ``teacher``, with the bundled tokenizer. To a question about ``Item 7`` both
models write the same text, ``answer(7)``. Each model continues the answer from the point that the prompt has reached,
and the student calls the teacher at the two points in ``CALLS``. A client that loses or repeats a word, or mixes up two
streams, gets a text other than ``answer(7)``. A prompt in which the answer so far is not a beginning of that text is
refused with status 400.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import AsyncIterator
from typing import Any

from relay_core import bundled, command
from relay_core.engines.base import Chunk, Finish, Prompt, Sampling
from relay_core.engines.scripted import ScriptedEngine
from relay_core.keys import Role
from relay_core.tokenizer import Tokenizer

CALLS = ((3, 4), (9, 2))  # (words before the call, teacher tokens)
WORDS = "one of the shops has pens and hats for a few coins more than it had in the end of that day".split()
_ITEM = re.compile(r"Item (\d+)")
_TURN = re.compile(r"<\|im_start\|>assistant\n(?:<think>\n\n</think>\n\n)?")
_COMMAND = re.compile(r"<call>\d+</call>")
CONTEXT = 4096


def answer(item: int) -> str:
    """The whole answer to a question about an item, as the reader sees it."""
    rng = random.Random(item)
    return f"Item {item}: " + " ".join(rng.choices(WORDS, k=16)) + "."


def rest(prompt: str, *, calls: bool) -> str:
    """The continuation of a prompt.

    Args:
        prompt: a question about an item, and the answer so far.
        calls: whether to stop at the next call and write its command; otherwise, continue to the end of the answer.

    Raises:
        ValueError: the answer so far is not a beginning of the item's answer.
    """
    item = _ITEM.search(prompt)
    *_, written = _TURN.split(prompt)
    if item is None:
        return "It is not known."
    whole, shown = answer(int(item[1])), _COMMAND.sub("", written)
    if not whole.startswith(shown):
        raise ValueError(f"{shown!r} is not how {whole!r} begins")
    calls_so_far = len(_COMMAND.findall(written))
    if not calls or calls_so_far == len(CALLS):
        return whole[len(shown) :]
    words, n = CALLS[calls_so_far]
    call_at = len(" ".join(whole.split(" ")[:words]))
    return whole[len(shown) : call_at] + command.write(n)


def engine(role: Role, tokenizer: Tokenizer, *, chunk: int, delay_s: float) -> ScriptedEngine:
    """The engine of one model; ``chunk`` tokens per chunk, ``delay_s`` seconds before each."""

    def script(prompt: Prompt) -> str:
        return rest(prompt.text, calls=role == "student")

    return ScriptedEngine(script, tokenizer, chunk=chunk, delay_s=delay_s, honour_stop=True, context_length=CONTEXT)


class Server:
    """The part of vLLM's protocol that ``OpenAIEngine`` and ``benchmarks/lockstep.py`` use.

    Args:
        chunk: tokens per event.
        delay_s: seconds before each event.
    """

    def __init__(self, *, chunk: int, delay_s: float) -> None:
        folder = bundled.path("student-relay")
        self.root, self.tokenizer = str(folder), Tokenizer.load(folder)
        roles: tuple[Role, ...] = ("student", "teacher")
        self.models = {role: engine(role, self.tokenizer, chunk=chunk, delay_s=delay_s) for role in roles}

    def app(self) -> Any:
        """The ASGI application."""
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
        from starlette.routing import Route

        async def health(_: Any) -> PlainTextResponse:
            return PlainTextResponse("")

        async def models(_: Any) -> JSONResponse:
            cards = [{"id": name, "root": self.root, "max_model_len": CONTEXT} for name in self.models]
            return JSONResponse({"data": cards})

        async def completions(request: Any) -> Any:
            body = await request.json()
            prompt = body["prompt"]
            ids = self.tokenizer.encode(prompt, begins=True) if isinstance(prompt, str) else prompt
            text = self.tokenizer.decode(ids, control=True)
            try:
                rest(text, calls=True)
            except ValueError as error:
                return JSONResponse({"error": {"message": str(error)}}, 400)
            stop = tuple(body.get("stop") or ())
            chunks = self.models[body["model"]].stream(Prompt(text, ids), Sampling(body["max_tokens"], stop=stop))
            if body.get("stream"):
                return StreamingResponse(self.events(chunks, len(ids)), media_type="text/event-stream")
            return JSONResponse(await self.whole(chunks, ids))

        routes = [Route("/health", health), Route("/v1/models", models)]
        return Starlette(routes=[*routes, Route("/v1/completions", completions, methods=["POST"])])

    async def events(self, chunks: AsyncIterator[Chunk], prompt_tokens: int) -> AsyncIterator[str]:
        """The chunks as server-sent events, then the usage and ``[DONE]``."""
        count = 0
        async for chunk in chunks:
            choice = self.choice(chunk)
            count += len(choice["token_ids"])
            if choice["token_ids"] or choice["finish_reason"]:
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
        yield f"data: {json.dumps({'choices': [], 'usage': _usage(prompt_tokens, count)})}\n\n"
        yield "data: [DONE]\n\n"

    async def whole(self, chunks: AsyncIterator[Chunk], prompt_ids: list[int]) -> dict[str, Any]:
        """The chunks as one response that is not streamed."""
        choices = [self.choice(chunk) async for chunk in chunks]
        token_ids = [i for choice in choices for i in choice["token_ids"]]
        choice = {
            **choices[-1],
            "text": "".join(choice["text"] for choice in choices),
            "token_ids": token_ids,
            "prompt_token_ids": prompt_ids,
        }
        return {"choices": [choice], "usage": _usage(len(prompt_ids), len(token_ids))}

    def choice(self, chunk: Chunk) -> dict[str, Any]:
        """A chunk as the first choice of a response."""
        ids = [token.id for token in chunk.tokens] + ([] if chunk.end_token is None else [chunk.end_token.id])
        reason = {None: None, Finish.LENGTH: "length"}.get(chunk.finish, "stop")
        stop = command.CLOSE if chunk.finish is Finish.STOP else None
        text = "".join(token.text for token in chunk.tokens)
        return {"index": 0, "text": text, "token_ids": ids, "finish_reason": reason, "stop_reason": stop}


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description="Serve a scripted student and teacher over HTTP.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--chunk", type=int, default=4, help="tokens per event")
    parser.add_argument("--delay-s", type=float, default=0.0, help="seconds before each event")
    options = parser.parse_args()
    app = Server(chunk=options.chunk, delay_s=options.delay_s).app()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        backlog=4096,
        timeout_keep_alive=600,  # a loaded machine may leave a connection idle for seconds
    )
