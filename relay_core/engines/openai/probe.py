"""Finding out, once, what an OpenAI-compatible endpoint can do.

Best first: token ids in and out; text completions; chat that goes on from a trailing assistant message; plain
chat. Nothing is taken on a server's word: ids are asked for and compared with the tokenizer here, and whether a
message is really continued is read off the prompt's length. A probe is a handful of one-token requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.openai.protocol import RUNNING_USAGE, USAGE, Dialect, Mode, request_body
from relay_core.engines.openai.retries import BreakerOpen, Fault
from relay_core.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

#: Text whose ids differ between vocabularies: spaces, digits, case, scripts, an emoji, code, control characters.
PROBE_TEXT = " The cat's 12345 + 67 = 12,412.\n\n\tif x<=3: répondre «здравствуй» 你好 🦊 </call>\n"

_ONE_ID = (1,)

# How servers are asked to go on from a trailing assistant message: (fields of the body, of the message).
_CONTINUATIONS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"continue_final_message": True, "add_generation_prompt": False}, {}),  # vLLM, SGLang
    ({}, {}),  # llama.cpp and others just do
    ({}, {"prefix": True}),  # Mistral, DeepSeek
)

Get = Callable[[str], Awaitable[Any]]
Post = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
Drain = Callable[[str, Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Endpoint:
    """What was found.

    ``tried``: why a better mode was passed over, for each. ``counter``: what n is counted with, where only text
    comes. ``longest_token``: in characters.
    """

    dialect: Dialect
    tokenizer: Tokenizer | None = None
    context_length: int | None = None
    served: tuple[str, ...] = ()
    tried: Mapping[str, str] = field(default_factory=dict)
    counter: Tokenizer | None = None
    longest_token: int = 256  # than which no known vocabulary has a longer one

    @property
    def mode(self) -> Mode:
        """How it is made to continue a prompt."""
        return self.dialect.mode


async def probe(
    get: Get,
    post: Post,
    drain: Drain,
    *,
    model: str,
    mode: Mode | Literal["auto"] = "auto",
    tokenizer: str | Path | Tokenizer | None = None,
) -> Endpoint:
    """Ask the endpoint what it can do.

    Args:
        get, post: send JSON below the base URL, steadily; an :class:`EngineError` is a refusal.
        drain: ``post`` of a streamed request, its events read to the end.
        mode: ``"auto"``, or the one mode to try.
        tokenizer: the model's, or where to load it; ``None`` looks for it where the endpoint says that its
            weights are, on this machine only.

    Raises:
        ConfigurationError: no mode (or not the one asked for) works; the message says what was answered.
        Fault, BreakerOpen: the endpoint could not be asked.
    """
    return await _Probe(get, post, drain, model, tokenizer).run(mode)


class _Probe:
    def __init__(
        self, get: Get, post: Post, drain: Drain, model: str, tokenizer: str | Path | Tokenizer | None
    ) -> None:
        self.get, self.post, self.drain, self.model, self.given = get, post, drain, model, tokenizer
        self.tried: dict[str, str] = {}
        self.card: Mapping[str, Any] = {}
        self.served: tuple[str, ...] = ()

    async def run(self, mode: Mode | Literal["auto"]) -> Endpoint:
        await self.look_around()
        tokenizer = await asyncio.to_thread(self.find_tokenizer)
        ways: dict[Mode, Callable[[], Awaitable[Dialect | None]]] = {
            Mode.IDS: lambda: self.ids(tokenizer),
            Mode.COMPLETIONS: lambda: self.completions(tokenizer),
            Mode.CHAT_CONTINUE: self.chat_continue,
            Mode.CHAT: self.chat,
        }
        for way, attempt in ways.items():
            if mode not in ("auto", way):
                continue
            dialect = await attempt()
            if dialect is not None and (dialect := await self.streaming(dialect)) is not None:
                known = tokenizer if way in (Mode.IDS, Mode.COMPLETIONS) else None
                longest = Endpoint.longest_token if tokenizer is None else max(map(len, tokenizer.vocabulary))
                return Endpoint(dialect, known, self.context_length, self.served, self.tried, tokenizer, longest)
        raise ConfigurationError(
            f"{self.model} cannot be used in mode {str(mode)!r}: "
            + "; ".join(f"{name}: {why}" for name, why in self.tried.items())
            + (f"; the endpoint serves {', '.join(self.served[:8])}" if self.served else "")
        )

    @property
    def context_length(self) -> int | None:
        length = self.card.get("max_model_len", self.card.get("context_length"))
        return length if type(length) is int and length > 0 else None

    async def look_around(self) -> None:
        """The list of models: this one's context and where its weights are, where the endpoint says so."""
        try:
            listed = await self.get("/models")
        except BreakerOpen:
            raise
        except Fault as fault:
            if fault.status is None:
                raise
            return  # it is there, and may yet generate: `transformers serve` fails at this without a hub cache
        except EngineError as error:
            if "does not accept the key" in error.message:
                raise ConfigurationError(error.message, role=error.role) from error
            return  # not every endpoint lists its models
        cards = listed.get("data") if isinstance(listed, dict) else None
        cards = [card for card in cards or () if isinstance(card, dict) and isinstance(card.get("id"), str)]
        self.served = tuple(card["id"] for card in cards)
        self.card = next((card for card in cards if card["id"] == self.model), {})

    def find_tokenizer(self) -> Tokenizer | None:
        """The one given, or the one beside the weights if these are on this machine; blocking."""
        from relay_core.tokenizer import Tokenizer

        found: Tokenizer | None = None
        if self.given is not None:
            found = self.given if isinstance(self.given, Tokenizer) else Tokenizer.load(self.given)
        else:
            for place in (self.card.get("root"), self.model):
                if isinstance(place, str) and (Path(place) / "tokenizer.json").is_file():
                    found = Tokenizer.load(place)
                    break
        if found is not None:
            found.prepare()
        return found

    async def ask(self, mode: Mode, path: str, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """One small request; a refusal is noted for ``mode`` and is ``None``."""
        try:
            answer = await self.post(path, {"model": self.model, "temperature": 0, **body})
        except (Fault, BreakerOpen):
            raise
        except EngineError as error:
            self.tried[mode] = error.message
            return None
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not choices or not isinstance(choices[0], dict):
            self.tried[mode] = f"it answered {str(answer)[:120]!r}"
            return None
        return dict(answer)

    async def streaming(self, dialect: Dialect) -> Dialect | None:
        """The dialect, proven by a streamed request such as will be sent; with less usage where that is refused."""
        running = () if dialect.mode is Mode.IDS else (RUNNING_USAGE,)  # where ids come, they are what is counted
        messages = ({"role": "user", "content": "Count."},)
        prompt = Prompt(PROBE_TEXT, _ONE_ID, messages)
        for options in (*running, USAGE, {}):
            dialect = replace(dialect, stream_options=options)
            body = request_body(self.model, dialect, prompt, Sampling(1), ids=(), text="", left=1)
            try:
                await self.drain(dialect.path, body)
            except Fault as fault:
                if options is not RUNNING_USAGE or fault.status is None:
                    raise  # what every server knows was asked: it is ill
            except BreakerOpen:
                raise
            except EngineError as error:
                self.tried[dialect.mode] = error.message
            else:
                self.tried.pop(dialect.mode, None)
                return dialect
        return None

    async def ids(self, tokenizer: Tokenizer | None) -> Dialect | None:
        if tokenizer is None:
            self.tried[Mode.IDS] = "the model's tokenizer is not on this machine; give tokenizer="
            return None
        asked = {"prompt": PROBE_TEXT, "max_tokens": 1, "return_token_ids": True, "add_special_tokens": False}
        answer = await self.ask(Mode.IDS, "/completions", asked)
        if answer is None:
            return None
        choice = answer["choices"][0]
        theirs = choice.get("prompt_token_ids")
        if not isinstance(choice.get("token_ids"), list) or not isinstance(theirs, list):
            self.tried[Mode.IDS] = "it gives no token ids back"
        elif theirs != tokenizer.encode(PROBE_TEXT):
            if self.given is not None:
                raise ConfigurationError(
                    f"tokenizer= is {tokenizer.name}, which is not {self.model}'s: the same text gives other ids there"
                )
            self.tried[Mode.IDS] = f"the tokenizer {tokenizer.name} is not the endpoint's: their ids differ"
        else:
            return Dialect(Mode.IDS)
        return None

    async def completions(self, tokenizer: Tokenizer | None) -> Dialect | None:
        if tokenizer is None:
            self.tried[Mode.COMPLETIONS] = "a tokenizer is needed for the model's chat template; give tokenizer="
            return None
        answer = await self.ask(Mode.COMPLETIONS, "/completions", {"prompt": PROBE_TEXT, "max_tokens": 1})
        return None if answer is None else Dialect(Mode.COMPLETIONS)

    async def chat_continue(self) -> Dialect | None:
        plain = await self.chat(Mode.CHAT_CONTINUE)
        if plain is None:
            return None
        user = {"role": "user", "content": "Count."}
        bare = await self.chat_length(plain, [user], {})
        if bare is None:
            self.tried[Mode.CHAT_CONTINUE] = "it does not say how long a prompt was"
            return None
        for fields, in_message in _CONTINUATIONS:
            messages = [user, {"role": "assistant", "content": "1", **in_message}]
            length = await self.chat_length(plain, messages, fields)
            # one token more, and no end of message nor a new beginning: it goes on
            if length is not None and 1 <= length - bare <= 2:
                return Dialect(Mode.CHAT_CONTINUE, fields, in_message, plain.limit_name, plain.template_kwargs)
        self.tried[Mode.CHAT_CONTINUE] = "it does not go on from a trailing assistant message"
        return None

    async def chat_length(self, dialect: Dialect, messages: list[Any], fields: Mapping[str, Any]) -> int | None:
        body = {"messages": messages, dialect.limit_name: 1, **fields}
        if dialect.template_kwargs:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        answer = await self.ask(Mode.CHAT_CONTINUE, "/chat/completions", body)
        usage = answer.get("usage") if answer is not None else None
        length = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return length if type(length) is int else None

    async def chat(self, mode: Mode = Mode.CHAT) -> Dialect | None:
        """Plain chat, and which spelling of it is taken."""
        messages = [{"role": "user", "content": "Count."}]
        for limit_name in ("max_tokens", "max_completion_tokens"):
            for thinking in ({"chat_template_kwargs": {"enable_thinking": False}}, {}):
                answer = await self.ask(mode, "/chat/completions", {"messages": messages, limit_name: 1, **thinking})
                if answer is not None:
                    self.tried.pop(mode, None)
                    return Dialect(Mode.CHAT, limit_name=limit_name, template_kwargs=bool(thinking))
        return None
