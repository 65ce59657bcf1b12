"""Twenty secrets are planted in engines in every way in which one can be set, and searched for in every output.

The endpoint echoes all that it was sent, in every place where a server can write something. The plugins' outputs are
searched in tests/adapters/test_secrets.py.
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from relay_core import OpenAIEngine, Relay, RelayError, ScriptedEngine, engine_from_spec
from relay_core.cli import app
from relay_core.engines.base import Prompt, Sampling, Warming
from relay_core.engines.openai.transport import STREAMED
from relay_core.errors import ConfigurationError
from testing.loopback import Answer, Request, event_stream, http_response, loopback, words

NAMES = (
    "key", "secret key", "key of the student", "key of the teacher", "key of OPENAI_API_KEY", "authorization",
    "api-key", "cookie", "x-token", "query key", "query signature", "proxy user", "proxy password",
    "proxy password in percent",
    "HTTP_PROXY password", "ALL_PROXY password", "URL user", "URL password", "URL query", "spec password",
)  # fmt: skip
SECRETS = {name: f"{index:02d}-planted-{name.encode().hex()[-10:]}" for index, name in enumerate(NAMES)}
assert len(set(SECRETS.values())) == 20
PERCENT = SECRETS["proxy password in percent"] + "/@:ü"


def found_in(text: str) -> list[str]:
    """The names of the secrets that a text holds, plainly, in base64 or in percent."""
    lowered = text.lower()
    hits = []
    for name, secret in SECRETS.items():
        forms = {secret, secret[4:], secret[:10], quote(secret, safe=""), secret.replace("-", "")}
        forms |= {base64.b64encode(("x" * i + secret).encode()).decode()[4:-4] for i in range(3)}
        if any(form.lower() in lowered for form in forms):
            hits.append(name)
    return hits


@dataclass
class Outputs:
    """Texts that a person or a service may see, by what they are."""

    texts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, kind: str, value: Any) -> None:
        self.texts.append((kind, value if isinstance(value, str) else repr(value)))

    def add_error(self, error: BaseException) -> None:
        """An error with its traceback, its chain, and what each link of the chain holds."""
        self.add("traceback", "".join(traceback.format_exception(error)))
        links, seen = [error], set[int]()
        while links:
            link = links.pop()
            if id(link) not in seen:
                seen.add(id(link))
                held = [f"{link!r} {link!s} {link.args!r}"]
                held += [f"{value!r} {getattr(value, '__dict__', '')!r}" for value in vars(link).values()]
                self.add("error", " ".join(held))
                links += [other for other in (link.__cause__, link.__context__) if other is not None]

    def check(self) -> None:
        for kind, text in self.texts:
            assert not found_in(text), f"{kind}: {text[:2000]}"


@pytest.fixture
def outputs(caplog: pytest.LogCaptureFixture) -> Iterator[Outputs]:
    """Collects what a test adds, and every log record at DEBUG; all of it is searched at the end."""
    collected = Outputs()
    with caplog.at_level(logging.DEBUG):
        for name in ("httpx", "httpcore", "openai", "aiohttp", "asyncio", "relay_core"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield collected
        formatter = logging.Formatter("%(name)s %(message)s")
        for record in caplog.records:
            collected.add(
                "log", formatter.format(record) + repr(record.args) + repr(record.exc_info and record.exc_info[1])
            )
        for name in ("httpx", "httpcore", "openai", "aiohttp", "asyncio", "relay_core"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    collected.check()


def engine_with_secrets(url: str, **options: Any) -> OpenAIEngine:
    return OpenAIEngine(
        "m",
        url,
        **{
            "api_key": SecretStr(SECRETS["secret key"] + "\n"),
            "headers": {
                "x-authorization": f"Bearer {SECRETS['authorization']}",
                "api-key": SECRETS["api-key"],
                "Cookie": f"session={SECRETS['cookie']}; other=1",
                "X-Token": SecretStr(SECRETS["x-token"]),
            },
            "query": {"key": SECRETS["query key"], "sig": f"{SECRETS['query signature']}+/="},
            "retries": 0,
            "breaker_after": None,
            "first_token_s": 5.0,
            **options,
        },
    )


# -- an endpoint that echoes ---------------------------------------------------------------------------------------


def echo_of(request: Request) -> str:
    """All that a server was sent, in the forms in which servers repeat it."""
    headers = " ".join(f"{name}={value}" for name, value in request.headers.items())
    tokens = [value.partition(" ")[2] for value in request.headers.values() if value.startswith("Basic ")]
    plain = [base64.b64decode(token).decode() for token in tokens]
    return f"{request.target} {headers} {' '.join(plain)} {quote(headers)} {headers.upper()}"


def status(code: int) -> Callable[[Request], Answer]:
    return lambda request: http_response(json.dumps({"error": {"message": f"wrong: {echo_of(request)}"}}), code)


def in_headers(code: int) -> Callable[[Request], Answer]:
    def answer(request: Request) -> Answer:
        return http_response("{}", code, {"x-echo": echo_of(request), "set-cookie": "a=b", "x-request-id": "1"})

    return answer


def streamed(*payloads: Callable[[str], Any]) -> Callable[[Request], Answer]:
    """Answers the probing, and echoes in the stream."""

    def answer(request: Request) -> Answer:
        if "/chat/" not in request.target:
            return http_response("{}", 404)
        if not request.json.get("stream"):
            return http_response(json.dumps({"choices": [{"message": {"content": "1"}}]}))
        if request.json["max_tokens"] == 1:
            return words("1")
        return event_stream(*(payload(echo_of(request)) for payload in payloads))

    return answer


async def broken_off(request: Request) -> AsyncGenerator[bytes, None]:
    yield b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\nx-echo: " + echo_of(request).encode("latin-1") + b"\r\n\r\n{"


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


ECHOES: dict[str, Callable[[Request], Answer]] = {
    **{f"status {code}": status(code) for code in (400, 401, 403, 404, 413, 422, 429, 500, 503)},
    **{f"headers {code}": in_headers(code) for code in (200, 400, 500)},
    "a text": lambda request: http_response(f"<h1>{echo_of(request)}</h1>", 502, kind="text/html"),
    "odd JSON": lambda request: http_response(json.dumps({"echo": echo_of(request)})),
    "odd choices": lambda request: http_response(json.dumps({"choices": [echo_of(request)]})),
    "no JSON": lambda request: http_response(echo_of(request)),
    "the list of models": lambda request: http_response(json.dumps({"data": [{"id": echo_of(request)}]})),
    "another protocol": lambda request: echo_of(request).encode() + b"\r\n\r\n",
    "a broken header": lambda request: f"HTTP/1.1 200 {echo_of(request)}\r\n{echo_of(request)}\r\n\r\n".encode(),
    "a redirect": lambda request: http_response("", 307, {"location": f"http://other/{quote(echo_of(request))}"}),
    "a redirect to a host": lambda request: http_response("", 307, {"location": f"http://{SECRETS['x-token']}/"}),
    "a redirect to itself": lambda request: http_response("", 307, {"location": f"/v1/{quote(echo_of(request))}"}),
    "an encoding": lambda request: http_response("", 200, {"content-encoding": echo_of(request)}),
    "a broken body": broken_off,
    "an error event": streamed(lambda echo: {"error": {"message": echo, "code": 400}}),
    "a transient error event": streamed(lambda echo: {"error": echo}),
    "an odd event": streamed(lambda echo: [echo]),
    "odd choices in an event": streamed(lambda echo: {"choices": echo}),
    "an odd finish": streamed(lambda echo: {"choices": [{"delta": {}, "finish_reason": echo}]}),
    "an odd delta": streamed(lambda echo: {"choices": [{"delta": {"content": {"x": echo}}}]}),
    "a refused field": streamed(lambda echo: {"error": {"message": f"temperature {echo}", "code": 400}}),
}


async def use(engine: OpenAIEngine, outputs: Outputs) -> None:
    """Use an engine in every way; add all that is seen of it."""
    prompt, sampling = Prompt("Hi", None, [{"role": "user", "content": "Hi"}]), Sampling(4, temperature=0.5, seed=1)

    async def read(chunks: AsyncGenerator[Any, None]) -> None:
        async for chunk in chunks:
            outputs.add("notes", chunk.notes)

    warming = Warming()
    warming.want(2)
    for work in (
        engine.start,
        lambda: read(engine.stream(prompt, sampling)),
        lambda: read(engine.warm_stream(prompt, sampling, warming)),
        lambda: Relay(engine, None).agenerate("Hi"),
        lambda: Relay(ScriptedEngine([["It is <call>3</call>"], ["."]]), engine).agenerate("Hi"),
    ):
        try:
            result = await work()
        except RelayError as error:
            outputs.add_error(error)
            logging.getLogger("application").exception("it failed")
        else:
            outputs.add("result", result)
            if result is not None:
                outputs.add("JSON", json.dumps(result.to_dict() if hasattr(result, "to_dict") else str(result)))
    outputs.add("timed out", engine.timed_out("too late"))
    outputs.add("description", json.dumps(engine.describe()))
    outputs.add("repr", f"{engine!r} {engine!s} {engine.spec} {vars(engine)!r} {engine._address!r}")
    await engine.aclose()


@pytest.mark.parametrize("echo", ECHOES)
async def test_what_a_server_echoes_is_shown_nowhere(echo: str, outputs: Outputs) -> None:
    async with loopback(ECHOES[echo]) as server:
        await use(engine_with_secrets(server.url), outputs)
        sent = str(server.requests)
    expected = ["secret key", "authorization", "api-key", "cookie", "x-token", "query key", "query signature"]
    assert found_in(sent) == expected, "they were sent, or nothing is tested"
    assert STREAMED not in sent


@pytest.mark.parametrize("echo", ["status 400", "status 407", "headers 200", "another protocol", "an error event"])
@pytest.mark.parametrize("source", ["proxy=", "percent", "HTTP_PROXY", "ALL_PROXY", "http_proxy without a scheme"])
async def test_what_a_proxy_echoes_is_shown_nowhere(
    echo: str, source: str, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    async with loopback(ECHOES.get(echo, status(407))) as proxy:
        host = proxy.url.split("/")[2]
        urls = {
            "proxy=": f"http://{SECRETS['proxy user']}:{SECRETS['proxy password']}@{host}",
            "percent": f"http://u:{quote(PERCENT, safe='')}@{host}",
            "HTTP_PROXY": f"http://u:{SECRETS['HTTP_PROXY password']}@{host}",
            "ALL_PROXY": f"http://u:{SECRETS['ALL_PROXY password']}@{host}",
            "http_proxy without a scheme": f"u:{SECRETS['HTTP_PROXY password']}@{host}",
        }
        options = {}
        if source in ("proxy=", "percent"):
            options["proxy"] = urls[source]
        else:
            monkeypatch.setenv(source.split()[0], urls[source])
        await use(engine_with_secrets("http://example.invalid/v1", **options), outputs)
        tokens = [request.headers["proxy-authorization"].split()[1] for request in proxy.requests]
        assert found_in(base64.b64decode(tokens[0]).decode())


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_cannot_be_reached_shows_no_secret(scheme: str, outputs: Outputs) -> None:
    proxy = f"{scheme}://{SECRETS['proxy user']}:{SECRETS['proxy password']}@127.0.0.1:9"
    for url in ("http://example.invalid/v1", "https://example.invalid/v1"):
        await use(engine_with_secrets(url, proxy=proxy), outputs)


@pytest.mark.parametrize("variable", ["RELAY_STUDENT_API_KEY", "RELAY_TEACHER_API_KEY", "OPENAI_API_KEY"])
async def test_a_key_of_the_environment_is_shown_nowhere(
    variable: str, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"RELAY_STUDENT_API_KEY": "key of the student", "RELAY_TEACHER_API_KEY": "key of the teacher"}
    for name in (*names, "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    secret = SECRETS[names.get(variable, "key of OPENAI_API_KEY")]
    monkeypatch.setenv(variable, f" {secret}\n")
    role: Any = "student" if "STUDENT" in variable else "teacher"
    for echo in ("status 400", "status 401", "an error event"):
        async with loopback(ECHOES[echo]) as server:
            await use(OpenAIEngine("m", server.url, role=role, retries=0), outputs)
            assert server.requests[0].headers["authorization"] == f"Bearer {secret}"


def test_doctor_shows_no_secret(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRETS["key of OPENAI_API_KEY"])
    monkeypatch.setenv("HTTP_PROXY", f"http://u:{SECRETS['HTTP_PROXY password']}@127.0.0.1:9")
    for spec in (
        "openai:m@http://127.0.0.1:9/v1",
        f"openai:m@http://{SECRETS['URL user']}:{SECRETS['URL password']}@127.0.0.1:9/v1",
        f"openai:m@http://127.0.0.1:9/v1?key={SECRETS['URL query']}",
        f"opneai:m@http://u:{SECRETS['spec password']}@127.0.0.1:9/v1",
    ):
        for arguments in ([], ["--json"]):
            result = CliRunner().invoke(app, ["doctor", "--teacher", spec, *arguments])
            outputs.add("doctor", result.output)
            if result.exception is not None:
                outputs.add_error(result.exception)


@pytest.mark.parametrize(
    "url",
    ["http://{}:{}@host/v1", "https://{}:{}@host:8000/v1", "http://{}@host/v1", "http://{}:p/{}@host/v1",
     "http://host/v1?key={}", "http://host/v1#{}", "ftp://{}:{}@host/v1", "{}:{}@host/v1", "http://host:{}/v1"],
)  # fmt: skip
def test_a_secret_in_a_url_is_refused_and_not_shown(url: str, outputs: Outputs) -> None:
    full = url.format(SECRETS["URL user"], SECRETS["URL password"])
    for build in (
        lambda: OpenAIEngine("m", full),
        lambda: engine_from_spec(f"openai:m@{full}"),
        lambda: engine_from_spec(f"opneai:m@{full}"),
        lambda: OpenAIEngine("m", "http://host/v1", proxy=full.replace("http", "htp")),
    ):
        with pytest.raises(ConfigurationError) as refused:
            build()
        outputs.add_error(refused.value)


@pytest.mark.parametrize(
    "options",
    [{"api_key": "a\n{}"}, {"api_key": "ü{}"}, {"headers": {"x": "a\n{}"}}, {"headers": {"x": ["{}"]}},
     {"headers": ["{}"]}, {"query": {"x": ["{}"]}}, {"query": "{}"}, {"proxy": "{}"}, {"proxy": "http://u:{}@"},
     {"proxy": "socks4://u:{}@h"}],
    ids=str,
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_not_shown(options: dict[str, Any], outputs: Outputs) -> None:
    filled = json.loads(json.dumps(options).replace("{}", SECRETS["key"]))
    with pytest.raises(ConfigurationError) as refused:
        OpenAIEngine("m", "http://host/v1", **filled)
    outputs.add_error(refused.value)


def test_pickles_and_copies_show_no_secret(outputs: Outputs) -> None:
    keyed = OpenAIEngine("m", "http://host/v1", api_key=SECRETS["key"])
    for value in (
        keyed,
        Relay(keyed, keyed),
        engine_with_secrets("http://host/v1"),
        keyed._address,
        keyed._address.secrets,
    ):
        try:
            packed = pickle.dumps(value)
        except ConfigurationError as error:
            outputs.add_error(error)
        else:
            outputs.add("pickle", packed.decode("latin-1"))
            outputs.add("unpickled", repr(vars(pickle.loads(packed))))
        outputs.add("copy", repr(copy.copy(value)))


async def test_logs_of_httpx_itself_show_no_secret_of_a_socks_proxy(outputs: Outputs) -> None:
    """httpcore logs how it greets a SOCKS proxy; its record is made here, since socksio is not among our packages."""
    engine = engine_with_secrets(
        "http://host/v1", proxy=f"http://{SECRETS['proxy user']}:{SECRETS['proxy password']}@host:1"
    )
    auth = (SECRETS["proxy user"].encode(), SECRETS["proxy password"].encode())
    logging.getLogger("httpcore.socks").debug("setup_socks5_connection.started auth=%r", auth)
    error = ValueError(SECRETS["query key"])
    logging.getLogger("openai._base_client").debug("Encountered Exception", exc_info=error)
    del engine
