"""The scripted engine behind a real HTTP server that speaks as vLLM's does: exact answers, at any rate of requests.

    python scripted_server.py --port 8000 --delay-s 0.01

It serves ``student`` and ``teacher``, with the bundled tokenizer. Asked about ``Item 7``, both know the same text,
``answer(7)``; each goes on from wherever the prompt says that the answer is, and the student calls at the two places
in it that ``CALLS`` names. So an answer in which a word is lost, doubled or another stream's is not ``answer(7)``; and
a prompt that does not lead to it is refused.
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
from relay_core.tokenizer import Tokenizer

CALLS = ((3, 4), (9, 2))  # after so many words, for so many teacher tokens
WORDS = "one of the shops has pens and hats for a few coins more than it had in the end of that day".split()
_ASKED = re.compile(r"Item (\d+)")
_TURN = re.compile(r"<\|im_start\|>assistant\n(?:<think>\n\n</think>\n\n)?")
_COMMAND = re.compile(r"<call>\d+</call>")
CONTEXT = 4096


def answer(item: int) -> str:
    """The whole answer about an item, as the reader sees it."""
    rng = random.Random(item)
    return f"Item {item}: " + " ".join(rng.choices(WORDS, k=16)) + "."


def rest(prompt: str, *, calls: bool) -> str:
    """What comes after this prompt: up to the next call and with it, or all.

    Raises:
        ValueError: the prompt does not lead to the answer.
    """
    asked = _ASKED.search(prompt)
    *_, written = _TURN.split(prompt)
    if asked is None:
        return "It is not known."
    whole, said = answer(int(asked[1])), _COMMAND.sub("", written)
    if not whole.startswith(said):
        raise ValueError(f"{said!r} is not how {whole!r} begins")
    made = len(_COMMAND.findall(written))
    if not calls or made == len(CALLS):
        return whole[len(said) :]
    words, n = CALLS[made]
    until = len(" ".join(whole.split(" ")[:words]))
    return whole[len(said) : until] + command.write(n)


def engine(role: str, tokenizer: Tokenizer, *, chunk: int, delay_s: float) -> ScriptedEngine:
    """The model called ``role``."""

    def script(prompt: Prompt) -> str:
        return rest(prompt.text, calls=role == "student")

    return ScriptedEngine(script, tokenizer, chunk=chunk, delay_s=delay_s, honour_stop=True, context_length=CONTEXT)


class Server:
    """The protocol, as far as ``OpenAIEngine`` and ``benchmarks/lockstep.py`` use it."""

    def __init__(self, *, chunk: int, delay_s: float) -> None:
        folder = bundled.path("student-relay")
        self.root, self.tokenizer = str(folder), Tokenizer.load(folder)
        self.models = {r: engine(r, self.tokenizer, chunk=chunk, delay_s=delay_s) for r in ("student", "teacher")}

    def app(self) -> Any:
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
            given = body["prompt"]
            ids = self.tokenizer.encode(given, begins=True) if isinstance(given, str) else given
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

    async def events(self, chunks: AsyncIterator[Chunk], length: int) -> AsyncIterator[str]:
        """The chunks as server-sent events, usage and ``[DONE]`` behind them."""
        count = 0
        async for chunk in chunks:
            choice = self.choice(chunk)
            count += len(choice["token_ids"])
            if choice["token_ids"] or choice["finish_reason"]:
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
        yield f"data: {json.dumps({'choices': [], 'usage': _usage(length, count)})}\n\n"
        yield "data: [DONE]\n\n"

    async def whole(self, chunks: AsyncIterator[Chunk], ids: list[int]) -> dict[str, Any]:
        """The chunks as one answer."""
        choices = [self.choice(chunk) async for chunk in chunks]
        said = [i for choice in choices for i in choice["token_ids"]]
        choice = {
            **choices[-1],
            "text": "".join(choice["text"] for choice in choices),
            "token_ids": said,
            "prompt_token_ids": ids,
        }
        return {"choices": [choice], "usage": _usage(len(ids), len(said))}

    def choice(self, chunk: Chunk) -> dict[str, Any]:
        ids = [token.id for token in chunk.tokens] + ([] if chunk.end_token is None else [chunk.end_token.id])
        reason = {None: None, Finish.LENGTH: "length"}.get(chunk.finish, "stop")
        stop = command.CLOSE if chunk.finish is Finish.STOP else None
        text = "".join(token.text for token in chunk.tokens)
        return {"index": 0, "text": text, "token_ids": ids, "finish_reason": reason, "stop_reason": stop}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description="A scripted pair behind HTTP.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--chunk", type=int, default=4, help="tokens of an event")
    parser.add_argument("--delay-s", type=float, default=0.0, help="before each event")
    parser.add_argument("--keep-alive-s", type=int, default=5, help="of an idle connection")
    given = parser.parse_args()
    app = Server(chunk=given.chunk, delay_s=given.delay_s).app()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=given.port,
        log_level="warning",
        backlog=4096,
        timeout_keep_alive=given.keep_alive_s,
    )
