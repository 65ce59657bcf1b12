"""Finds out once what an OpenAI-compatible endpoint can do.

The modes are tried in this order: token ids as input and output; text completions; chat that continues a trailing
assistant message; plain chat. Each mode is verified: the ids of a text are compared with those of the local tokenizer,
and the reported length of the prompt shows whether a message is really continued. A probe is a handful of requests for
one token each. A failed request rules out only the mode that it tests, because some endpoints do not list their models,
or answer 500 to unknown fields.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.openai.faults import BreakerOpen, Fault, RequestRefused
from relay_core.engines.openai.http_errors import Unreachable
from relay_core.engines.openai.protocol import RUNNING_USAGE, USAGE, Dialect, Mode, request_body
from relay_core.engines.openai.redaction import printable
from relay_core.engines.openai.refusals import MOST_CHANGES, OPTIONAL, Adjustments
from relay_core.errors import ConfigurationError, EngineError, RelayError

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

#: Text whose ids differ between vocabularies: spaces, digits, case, scripts, an emoji, code, control characters.
PROBE_TEXT = " The cat's 12345 + 67 = 12,412.\n\n\tif x<=3: répondre «здравствуй» 你好 🦊 </call>\n"

_QUESTION = {"role": "user", "content": "Count."}
_ONE_ID = (1,)
_MOST_MODELS = 200  # the most models that an error names

# The ways to request that a server continues a trailing assistant message: (fields of the body, of the message).
_CONTINUATIONS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"continue_final_message": True, "add_generation_prompt": False}, {}),  # vLLM, SGLang
    ({}, {}),  # llama.cpp and others, which continue it without being asked
    ({}, {"prefix": True}),  # Mistral, DeepSeek
)

_LOAD = (408, 409, 425, 429, 502, 503, 504, 529)  # statuses that are not about the request itself

Get = Callable[[str], Awaitable[Any]]
Post = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
Drain = Callable[[str, Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Endpoint:
    """What an endpoint can do.

    Args:
        dialect: the form of request that it accepts.
        tokenizer: the model's tokenizer; ``None`` in the chat modes.
        context_length: the model's context in tokens; ``None`` if the endpoint does not report it.
        served: the names of all models that the endpoint lists.
        passed_over: for each better mode that was tried, the reason why it cannot be used.
        counter: counts the tokens of the endpoint's text; ``None`` without a tokenizer.
        longest_token: an upper bound on a token's length, in characters.
    """

    dialect: Dialect
    tokenizer: Tokenizer | None = None
    context_length: int | None = None
    served: tuple[str, ...] = ()
    passed_over: Mapping[str, str] = field(default_factory=dict)
    counter: Tokenizer | None = None
    longest_token: int = 256  # no known vocabulary has a longer token

    @property
    def mode(self) -> Mode:
        """How the endpoint is made to continue a prompt."""
        return self.dialect.mode


async def probe(
    get: Get,
    post: Post,
    drain: Drain,
    *,
    model: str,
    mode: Mode | Literal["auto"] = "auto",
    tokenizer: str | Path | Tokenizer | None = None,
    adjustments: Adjustments | None = None,
    shown: Callable[[str, int], str] = printable,
) -> Endpoint:
    """Find out what an endpoint can do.

    Args:
        get: sends ``GET`` to a path below the base URL, with retries, and returns JSON.
        post: sends a ``POST`` of a body in the same way.
        drain: sends a streamed ``POST`` in the same way, and reads its events to the end.
        model: the model's name at the endpoint.
        mode: ``"auto"``, or the one mode to try.
        tokenizer: the model's tokenizer, or the source to load it from; with ``None``, it is looked for on this
            machine, in the folder of weights that the endpoint reports.
        adjustments: remembers the optional fields that the endpoint refuses.
        shown: makes a text of the server safe to show, and cuts it to a number of characters.

    Raises:
        ConfigurationError: no mode works, or the chosen mode does not work; the message holds the endpoint's answers.
        Fault, BreakerOpen: the endpoint could not be reached.
    """
    return await _Probe(get, post, drain, model, tokenizer, adjustments or Adjustments(), shown).run(mode)


async def settled(answer: Awaitable[Any]) -> Any:
    """Await the last attempt of a request.

    Raises:
        RequestRefused: instead of a ``Fault`` that is not about load or the network, because another attempt would fail
            again.
    """
    try:
        return await answer
    except Unreachable:
        raise
    except Fault as fault:
        if fault.status in _LOAD:
            raise
        raise RequestRefused(fault.message, status=fault.status) from fault


class _Probe:
    """One run of :func:`probe`."""

    def __init__(
        self,
        get: Get,
        post: Post,
        drain: Drain,
        model: str,
        tokenizer_source: str | Path | Tokenizer | None,
        adjustments: Adjustments,
        shown: Callable[[str, int], str],
    ) -> None:
        self.get, self.post, self.drain = get, post, drain
        self.model, self.tokenizer_source = model, tokenizer_source
        self.adjustments, self.shown = adjustments, shown
        self.passed_over: dict[str, str] = {}
        self.fault: Fault | None = None  # the latest transient failure of a request
        self.key_refusal: RequestRefused | None = None  # the latest refusal of the key by a generating request
        self.list_refusal: RequestRefused | None = None  # the refusal of the key by the list of models
        self.has_answer = False  # whether a generating request was answered, or refused for another reason
        self.model_card: Mapping[str, Any] = {}
        self.served: tuple[str, ...] = ()

    async def run(self, mode: Mode | Literal["auto"]) -> Endpoint:
        await self.list_models()
        tokenizer = await asyncio.to_thread(self.find_tokenizer)
        attempts: dict[Mode, Callable[[], Awaitable[Dialect | None]]] = {
            Mode.IDS: lambda: self.try_ids(tokenizer),
            Mode.COMPLETIONS: lambda: self.try_completions(tokenizer),
            Mode.CHAT_CONTINUE: self.try_chat_continue,
            Mode.CHAT: self.try_chat,
        }
        for candidate, attempt in attempts.items():
            if mode not in ("auto", candidate):
                continue
            dialect = await attempt()
            if dialect is not None and (dialect := await self.try_streaming(dialect)) is not None:
                return Endpoint(
                    dialect,
                    tokenizer if candidate in (Mode.IDS, Mode.COMPLETIONS) else None,
                    self.context_length,
                    self.served,
                    self.passed_over,
                    tokenizer,
                    Endpoint.longest_token if tokenizer is None else max(map(len, tokenizer.vocabulary)),
                )
        if self.fault is not None:
            raise self.fault
        if self.key_refusal is not None and not self.has_answer:
            raise ConfigurationError(self.key_refusal.message, role=self.key_refusal.role)
        reasons = (
            f"{self.model} cannot be used in mode {str(mode)!r}: "
            + "; ".join(f"{name}: {reason}" for name, reason in self.passed_over.items())
            + (f"; the endpoint serves {', '.join(self.served[:8])}" if self.served else "")
        )
        if self.list_refusal is not None:  # irrelevant as long as a mode works, but now the likely cause
            raise ConfigurationError(f"{self.list_refusal.message}; {reasons}", role=self.list_refusal.role)
        raise ConfigurationError(reasons)

    @property
    def context_length(self) -> int | None:
        """What vLLM, others, and llama.cpp report, under their names for it."""
        card, meta = self.model_card, self.model_card.get("meta")
        of_llama_cpp = meta.get("n_ctx") if isinstance(meta, dict) else None
        length = card.get("max_model_len", card.get("context_length", of_llama_cpp))
        return length if type(length) is int and length > 0 else None

    async def list_models(self) -> None:
        """Read the list of models, which may hold this model's context length and its folder of weights."""
        try:
            listing = await self.get("/models")
        except (Unreachable, BreakerOpen):
            raise
        except EngineError as error:  # some endpoints do not list their models, or not with every key
            if isinstance(error, RequestRefused) and error.is_about_the_key:
                self.list_refusal = error
            return
        data = listing.get("data") if isinstance(listing, dict) else None
        cards = [
            card
            for card in (data if isinstance(data, list) else ())
            if isinstance(card, dict) and isinstance(card.get("id"), str)
        ]
        self.served = tuple(self.shown(card["id"], 80) for card in cards[:_MOST_MODELS])
        self.model_card = next((card for card in cards if card["id"] == self.model), {})

    def find_tokenizer(self) -> Tokenizer | None:
        """The user's tokenizer, or the one in the folder of weights if this is on this machine; blocking."""
        tokenizer: Tokenizer | None = None
        if self.tokenizer_source is not None:
            from relay_core.tokenizer import Tokenizer

            source = self.tokenizer_source
            tokenizer = source if isinstance(source, Tokenizer) else Tokenizer.load(source)
        else:
            for folder in (self.model_card.get("root"), self.model):
                tokenizer = _tokenizer_in(folder) if isinstance(folder, str) else None
                if tokenizer is not None:
                    break
        if tokenizer is not None:
            tokenizer.prepare()
        return tokenizer

    async def post_for(self, mode: Mode, path: str, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Send a small request to try ``mode``; if the endpoint refuses it, record why and return ``None``."""
        try:
            answer = await self.ask(self.post, path, {"model": self.model, **fields})
        except EngineError as error:
            self.pass_over(mode, error)
            return None
        self.has_answer = True
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            self.passed_over[mode] = f"it answered {self.shown(str(answer), 120)!r}"
            return None
        return dict(answer)

    async def ask(
        self,
        send: Callable[[str, Mapping[str, Any]], Awaitable[Any]],
        path: str,
        body: Mapping[str, Any],
        keep: Collection[str] = (),
    ) -> Any:
        """Send a request without the fields that the endpoint refuses by name, except the fields in ``keep``."""
        body = self.adjustments.apply(body)
        for _ in range(MOST_CHANGES):
            try:
                return await send(path, body)
            except EngineError as refusal:
                changed = self.adjustments.after(refusal, body, keep)
                if changed is None:
                    raise
                body = changed
        raise EngineError("it refuses every form of the request")

    def pass_over(self, mode: Mode, error: EngineError) -> None:
        """Record why a mode cannot be used.

        Raises:
            Unreachable, BreakerOpen: the endpoint cannot be reached.
            Fault: the endpoint is overloaded or limits the rate of requests.
        """
        if isinstance(error, (Unreachable, BreakerOpen)) or (isinstance(error, Fault) and error.status == 429):
            raise error
        self.passed_over[mode] = error.message
        if isinstance(error, Fault):
            self.fault = error
        elif isinstance(error, RequestRefused) and error.is_about_the_key:
            self.key_refusal = error
        else:
            self.has_answer = True

    async def try_streaming(self, dialect: Dialect) -> Dialect | None:
        """Verify a dialect by a streamed request, with the most detailed usage that the endpoint accepts."""
        running = () if dialect.mode is Mode.IDS else (RUNNING_USAGE,)  # with ids, the client counts the tokens
        prompt = Prompt(PROBE_TEXT, _ONE_ID, (_QUESTION,))
        for options in (*running, USAGE, {}):
            candidate = replace(dialect, stream_options=options)
            whole = request_body(self.model, candidate, prompt, Sampling(1), ids=(), text="", left=1)
            # optional fields are asked of the endpoint when they are asked for
            body = {name: value for name, value in whole.items() if name not in OPTIONAL or name == "stream_options"}
            try:
                await self.ask(self.drain, candidate.path, body, keep=("stream_options",))
            except EngineError as error:
                self.pass_over(dialect.mode, error)
                if isinstance(error, Fault) and (options is not RUNNING_USAGE or error.status is None):
                    return None  # every server supports these options, so the fault has another cause
            else:
                self.passed_over.pop(dialect.mode, None)
                return candidate
        return None

    async def try_ids(self, tokenizer: Tokenizer | None) -> Dialect | None:
        if tokenizer is None:
            self.passed_over[Mode.IDS] = "the model's tokenizer is not on this machine; give tokenizer="
            return None
        fields = {"prompt": PROBE_TEXT, "max_tokens": 1, "return_token_ids": True, "add_special_tokens": False}
        answer = await self.post_for(Mode.IDS, "/completions", fields)
        if answer is None:
            return None
        choice = answer["choices"][0]
        prompt_ids = choice.get("prompt_token_ids")
        if not isinstance(choice.get("token_ids"), list) or not isinstance(prompt_ids, list):
            self.passed_over[Mode.IDS] = "it gives no token ids back"
        elif prompt_ids != tokenizer.encode(PROBE_TEXT):
            if self.tokenizer_source is not None:
                raise ConfigurationError(
                    f"tokenizer= is {tokenizer.name}, which is not {self.model}'s: the same text gives other ids there"
                )
            self.passed_over[Mode.IDS] = f"the tokenizer {tokenizer.name} is not the endpoint's: their ids differ"
        else:
            return Dialect(Mode.IDS)
        return None

    async def try_completions(self, tokenizer: Tokenizer | None) -> Dialect | None:
        if tokenizer is None:
            reason = "a tokenizer is needed for the model's chat template; give tokenizer="
            self.passed_over[Mode.COMPLETIONS] = reason
            return None
        answer = await self.post_for(Mode.COMPLETIONS, "/completions", {"prompt": PROBE_TEXT, "max_tokens": 1})
        if answer is None:
            return None
        bos, length = getattr(tokenizer.hf, "bos_token", None), _prompt_length(answer)
        adds_bos = length == len(tokenizer.encode(PROBE_TEXT, begins=True)) + 1
        return Dialect(Mode.COMPLETIONS, own_bos=bos if bos and adds_bos else "")

    async def try_chat_continue(self) -> Dialect | None:
        plain = await self.try_chat(Mode.CHAT_CONTINUE)
        if plain is None:
            return None
        question_length = await self.chat_prompt_length(plain, [_QUESTION], {})
        if question_length is None:
            self.passed_over[Mode.CHAT_CONTINUE] = "it does not say how long a prompt was"
            return None
        for in_body, in_message in _CONTINUATIONS:
            messages = [_QUESTION, {"role": "assistant", "content": "1", **in_message}]
            length = await self.chat_prompt_length(plain, messages, in_body)
            # the message is continued if only "1" is added, without the end of its message and the start of another
            if length is not None and 1 <= length - question_length <= 2:
                return Dialect(Mode.CHAT_CONTINUE, in_body, in_message, plain.limit_name, plain.template_kwargs)
        self.passed_over[Mode.CHAT_CONTINUE] = "it does not go on from a trailing assistant message"
        return None

    async def chat_prompt_length(self, dialect: Dialect, messages: list[Any], fields: Mapping[str, Any]) -> int | None:
        """The length of a chat's prompt in tokens, as the endpoint reports it."""
        body = {"messages": messages, dialect.limit_name: 1, **fields}
        if dialect.template_kwargs:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        answer = await self.post_for(Mode.CHAT_CONTINUE, "/chat/completions", body)
        return None if answer is None else _prompt_length(answer)

    async def try_chat(self, mode: Mode = Mode.CHAT) -> Dialect | None:
        """Try plain chat, in each spelling of its fields; refusals are recorded for ``mode``."""
        for limit_name in ("max_tokens", "max_completion_tokens"):
            for thinking in ({"chat_template_kwargs": {"enable_thinking": False}}, {}):
                fields = {"messages": [_QUESTION], limit_name: 1, **thinking}
                answer = await self.post_for(mode, "/chat/completions", fields)
                if answer is not None:
                    self.passed_over.pop(mode, None)
                    return Dialect(Mode.CHAT, limit_name=limit_name, template_kwargs=bool(thinking))
                if self.key_refusal is not None and not self.has_answer:
                    return None  # the endpoint would refuse the same key in another spelling of the fields
        return None


def _prompt_length(answer: Mapping[str, Any]) -> int | None:
    """The length of a prompt in tokens, as the endpoint reports it with its answer."""
    usage = answer.get("usage")
    length = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return length if type(length) is int else None


def _tokenizer_in(folder: str) -> Tokenizer | None:
    """The tokenizer in a folder that the endpoint names; ``None`` if this machine has none that can be read."""
    from relay_core.tokenizer import Tokenizer

    try:
        if not (Path(folder) / "tokenizer.json").is_file():
            return None
        return Tokenizer.load(folder)
    except (OSError, ValueError, RelayError):  # no permission, a name that is too long, a broken file
        return None
