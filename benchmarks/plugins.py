"""What a plugin adds to the relay itself: the same prompts, asked of `Relay` and through the plugin, 64 at once.

    python benchmarks/plugins.py                    # the bundled pair, then scripted engines
    python benchmarks/plugins.py --requests 64 --rounds 5 --json

First on real models in this process, which is what a user waits for. Overhead is the median over rounds of
(way / relay - 1), for wall time and for this process's CPU time; where other work shares the machine, the second is the
one to trust. All ways take turns in every round, each time in another order, on the same prompts, which a first round
that is not counted has brought into the prefix cache for all alike.

Then on engines that play back a script, where nothing but Python is left: CPU microseconds a token, for each way more
than the relay's own; and beside it the framework's floor, a model that does nothing but hand ready texts to LangChain
or LlamaIndex. What lies above the floor is the plugin's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay_core import Relay, RelaySettings, ScriptedEngine, TextDelta

SUM = "Sam buys 3 pens at 62 coins each: 3 * 62 = "  # an answer of a usual length, with two calls
SCRIPT = [SUM * 3 + "<call>3</call>", SUM * 3 + "<call>3</call>", SUM * 3 + "."]

Way = Callable[[Sequence[str]], Awaitable[Sequence[str]]]


@dataclass
class Timing:
    """Seconds of each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def langchain_ways(chat: Any) -> dict[str, Way]:
    async def invoke(prompts: Sequence[str]) -> list[str]:
        return [message.text for message in await chat.abatch(list(prompts))]

    async def one_stream(prompt: str) -> str:
        return "".join([chunk.text async for chunk in chat.astream(prompt)])

    async def stream(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one_stream, prompts))

    return {"langchain abatch": invoke, "langchain astream": stream}


def llamaindex_ways(llm: Any) -> dict[str, Way]:
    async def one(prompt: str) -> str:
        return (await llm.acomplete(prompt)).text

    async def whole(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one, prompts))

    async def one_stream(prompt: str) -> str:
        return "".join([response.delta or "" async for response in await llm.astream_complete(prompt)])

    async def stream(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one_stream, prompts))

    return {"llamaindex acomplete": whole, "llamaindex astream": stream}


def relay_ways(relay: Relay) -> dict[str, Way]:
    async def one(prompt: str) -> str:
        return (await relay.agenerate(prompt)).text

    async def whole(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one, prompts))

    async def one_stream(prompt: str) -> str:
        return "".join([event.text async for event in relay.astream(prompt) if isinstance(event, TextDelta)])

    async def stream(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one_stream, prompts))

    return {"relay": whole, "relay astream": stream}


def langchain_floor(texts: Sequence[str]) -> dict[str, Way]:
    """A chat model that hands ``texts`` to LangChain, whatever it is asked."""
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    class Ready(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "ready"

        def _generate(self, *_: Any, **__: Any) -> ChatResult:
            raise NotImplementedError

        async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage(content="".join(texts)))])

        async def _astream(self, *_: Any, **__: Any) -> Any:
            for text in texts:
                yield ChatGenerationChunk(message=AIMessageChunk(content=text, name="student"))

    return langchain_ways(Ready())


def llamaindex_floor(texts: Sequence[str]) -> dict[str, Way]:
    """An LLM that hands ``texts`` to LlamaIndex, whatever it is asked."""
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
    from llama_index.core.llms.callbacks import llm_completion_callback

    class Ready(CustomLLM):
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata()

        def complete(self, *_: Any, **__: Any) -> CompletionResponse:
            raise NotImplementedError

        def stream_complete(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

        @llm_completion_callback()
        async def acomplete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
            return CompletionResponse(text="".join(texts))

        @llm_completion_callback()
        async def astream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
            async def responses() -> Any:
                so_far = ""
                for text in texts:
                    so_far += text
                    yield CompletionResponse(text=so_far, delta=text)

            return responses()

    return llamaindex_ways(Ready())


def all_ways(relay: Relay) -> dict[str, Way]:
    from langchain_relay import ChatRelay
    from llamaindex_relay import RelayLLM

    return {**relay_ways(relay), **langchain_ways(ChatRelay(relay=relay)), **llamaindex_ways(RelayLLM(relay=relay))}


async def measure(ways: dict[str, Way], prompts: Sequence[str], rounds: int) -> dict[str, Timing]:
    """Time every way so many times; a first round is not counted.

    Raises:
        RuntimeError: two ways answered differently, so that their times compare nothing.
    """
    timings = {name: Timing() for name in ways}
    order, names = random.Random(0), list(ways)
    for i in range(rounds + 1):
        answers = {}
        order.shuffle(names)  # what one way leaves behind, such as objects to free, meets another one each time
        for name in names:
            wall, cpu = time.perf_counter(), time.process_time()
            answers[name] = await ways[name](prompts)
            if i:
                timings[name].wall.append(time.perf_counter() - wall)
                timings[name].cpu.append(time.process_time() - cpu)
        lengths = {name: sum(map(len, texts)) for name, texts in answers.items()}
        if max(lengths.values()) > 1.02 * min(lengths.values()):
            raise RuntimeError(f"the ways wrote different amounts: {lengths}")
    return timings


def overheads(timings: dict[str, Timing]) -> dict[str, dict[str, float]]:
    """For every way but the relay: what it adds, as a share of the relay's own time."""
    base = timings["relay"]
    return {
        name: {
            "wall": statistics.median(a / b for a, b in zip(t.wall, base.wall, strict=True)) - 1,
            "cpu": statistics.median(a / b for a, b in zip(t.cpu, base.cpu, strict=True)) - 1,
        }
        for name, t in timings.items()
        if name != "relay"
    }


async def on_models(args: argparse.Namespace) -> dict[str, Any]:
    from relay_core.bundled import task

    prompts = [p.messages[-1]["content"] for p in task.problems(args.requests, split="dev")]
    async with Relay(args.student, args.teacher, RelaySettings(max_tokens=args.max_tokens)) as relay:
        ways = all_ways(relay)  # imports the plugins, as a user has done before models are loaded
        await relay.start()
        timings = await measure(ways, prompts, args.rounds)
    seconds = {name: statistics.median(t.wall) for name, t in timings.items()}
    return {"seconds": seconds, "overhead": overheads(timings)}


async def on_scripts(args: argparse.Namespace) -> dict[str, Any]:
    """CPU microseconds a token: the relay's; ``more``: each way's beyond it; ``floor``: the framework's alone."""
    relay = Relay(ScriptedEngine(SCRIPT), ScriptedEngine("186"), RelaySettings(on_teacher_stop="continue"))
    events = [event async for event in relay.astream("?")]
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    floors = {**langchain_floor(texts), **llamaindex_floor(texts)}
    ways = {**all_ways(relay), **{f"{name}, floor": way for name, way in floors.items()}}
    timings = await measure(ways, ["?"] * args.requests, args.rounds)
    tokens = args.requests * len(texts)
    each = {name: 1e6 * statistics.median(t.cpu) / tokens for name, t in timings.items()}
    more = {name: {"more": each[name] - each["relay"], "floor": each[f"{name}, floor"]} for name in floors}
    return {"tokens": len(texts), "relay": each["relay"], **more}


async def run(args: argparse.Namespace) -> dict[str, Any]:
    models = await on_models(args)
    return {"requests": args.requests, "rounds": args.rounds, **models, "us_per_token": await on_scripts(args)}


def show(report: dict[str, Any]) -> None:
    print(f"{report['requests']} requests at once, {report['rounds']} rounds: relay {report['seconds']['relay']:.2f} s")
    for name, share in report["overhead"].items():
        print(f"{name:22} {share['wall']:+.1%} wall, {share['cpu']:+.1%} CPU")
    each = dict(report["us_per_token"])
    print(f"scripted, {each.pop('tokens')} tokens an answer, CPU us a token: relay {each.pop('relay'):.1f}")
    for name, cost in each.items():
        print(f"{name:22} {cost['more']:+.1f}, of which the framework's floor {cost['floor']:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="bundled")
    parser.add_argument("--teacher", default="bundled")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    report = asyncio.run(run(args))
    if args.json:
        print(json.dumps(report))
    else:
        show(report)


if __name__ == "__main__":
    main()
