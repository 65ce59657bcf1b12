"""docs/operations.md and docs/testing.md: every example runs, on loopback; forked children answer or say what to do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from relay_core import EngineError, Relay, RelaySettings, ScriptedEngine
from relay_core.engines.scripted import Delay

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
QUESTION = "A pen costs 62 coins. Sam wants a pen. First, Sam buys 3 pens and then 4 more. What does Sam pay in all?"
RIGHT = "434"
has_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int, path: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own, which answers at ``path`` when the block begins."""
    python = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(EXAMPLES)])}
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", *command], cwd=EXAMPLES, env={**os.environ, **python, **environment}
    )
    try:
        deadline = time.monotonic() + 90
        while not answers_at(f"http://127.0.0.1:{port}{path}"):
            assert server.poll() is None and time.monotonic() < deadline, "the server does not start"
            time.sleep(0.1)
        yield server
    finally:
        server.terminate()
        server.wait(30)


def answers_at(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=30).status_code < 500
    except httpx.HTTPError:
        return False


def run(script: str, *arguments: str) -> str:
    """What a script prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- forked children ---------------------------------------------------------------------------------------

FORK = """
import os, signal, sys
from relay_core import ConfigurationError, Relay, TransformersEngine
from relay_core.engines.shared import shared_engine

QUESTION = sys.argv[1]

def in_child(work):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def right(relay):
    assert "434" in relay.generate(QUESTION).text
"""
LOADED = """
relay = Relay()
right(relay)
teacher_only = Relay(__import__("relay_core").ScriptedEngine([["= <call>3</call>"], ["."]]), relay.teacher)
lent = Relay(TransformersEngine(relay.student._model, relay.student.tokenizer), None)

def refused(relay):
    import time
    began = time.monotonic()
    try:
        relay.generate(QUESTION)
    except ConfigurationError as error:
        for word in ("was forked", "post_fork", "worker_process_init", "spawn", "docs/operations.md"):
            assert word in str(error), error
        assert time.monotonic() - began < 5
        relay.close()
    else:
        raise AssertionError("it answered")

def student_goes_on():
    result = teacher_only.generate(QUESTION)
    assert result.text == "= ." and "was forked" in result.failures[0]

for each in (relay, lent):
    assert in_child(lambda: refused(each)) == 0
assert in_child(student_goes_on) == 0, "a teacher that fails does not end the answer"
assert in_child(lambda: right(Relay())) == 0, "a relay that is built in the child loads models there"
right(relay)  # the parent goes on
"""
SHARED = """
import asyncio
engine = shared_engine("bundled", role="student")
unloaded = shared_engine("bundled", role="teacher")
asyncio.run(engine.start())

def shares_a_new_one():
    assert shared_engine("bundled", role="teacher") is unloaded
    assert shared_engine("bundled", role="student") is not engine
    right(Relay(shared_engine("bundled", role="student"), shared_engine("bundled", role="teacher")))

assert in_child(shares_a_new_one) == 0
"""
BUILT = """
import threading
from relay_core.engines import gc_freeze, shared
relay = Relay()
held = [shared._lock, gc_freeze._lock, relay.student._start_lock, relay.student._requests_lock]
holder = threading.Thread(target=lambda: ([lock.acquire() for lock in held], threading.Event().wait()), daemon=True)
holder.start()
while not all(lock.locked() for lock in held):
    pass
assert in_child(lambda: right(relay)) == 0
assert in_child(lambda: shared_engine("bundled", role="student")) == 0
os._exit(0)
"""
ENDPOINT = """
url = sys.argv[1]
relay = Relay(f"openai:student@{url}", f"openai:teacher@{url}")
text = relay.generate("Item 7").text
stream = relay.stream("Item 8")
next(stream)  # a request is in flight as the process forks

def same():
    assert relay.generate("Item 7").text == text
    assert [result.text for result in relay.batch(["Item 7"] * 5)] == [text] * 5
    assert relay.student._in_flight._count == 0
    relay.close()

import logging, threading
from relay_core.engines.openai import redaction

held = [relay.student._breaker._lock, relay.teacher._breaker._lock, redaction._LOG_FILTER._lock]
are_held, may_go_on = threading.Event(), threading.Event()

def hold():  # as a thread of the parent may at the moment of the fork
    for lock in held:
        lock.acquire()
    are_held.set()
    may_go_on.wait()
    for lock in held:
        lock.release()

logging.getLogger("httpx").setLevel(logging.DEBUG)
holder = threading.Thread(target=hold)
holder.start()
are_held.wait()
children = [in_child(same) for _ in range(3)]
may_go_on.set()
holder.join()
assert children == [0, 0, 0]
rest = [event for event in stream]
assert rest[-1].result.finish_reason == "stop"
same()
"""

CLOSED = """
import asyncio, sys
from relay_core import CallEnded, Finished, Relay

relay = Relay(*(f"openai:{role}@{sys.argv[1]}" for role in ("student", "teacher")))

async def closing(engines):
    async for event in relay.astream("Item 7"):
        if isinstance(event, CallEnded):
            for engine in engines:
                await engine.aclose()
    return event.result.text

whole = asyncio.run(closing([]))
for engines in ([relay.student], [relay.teacher], [relay.student, relay.teacher]):
    assert asyncio.run(closing(engines)) == whole
"""


@has_fork
@pytest.mark.parametrize("case", [LOADED, SHARED, BUILT], ids=["loaded", "shared", "built"])
def test_a_forked_child_answers_or_says_what_to_do(case: str) -> None:
    run(FORK + case, QUESTION)


@has_fork
def test_endpoints_in_a_forked_child() -> None:
    port = free_port()
    command = [str(ROOT / "testing" / "scripted_server.py"), "--port", str(port), "--delay-s", "0.005"]
    with serving(command, port, "/health"):
        run(FORK + ENDPOINT, f"http://127.0.0.1:{port}/v1")


def test_an_endpoint_that_is_closed_between_two_requests_of_an_answer_goes_on() -> None:
    """Its tokenizer was forgotten, and the student was asked to continue an empty prompt."""
    port = free_port()
    with serving([str(ROOT / "testing" / "scripted_server.py"), "--port", str(port)], port, "/health"):
        run(CLOSED, f"http://127.0.0.1:{port}/v1")


# -- FastAPI -----------------------------------------------------------------------------------------------


@pytest.fixture
def fastapi_app(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import fastapi_app

    return fastapi_app


@contextmanager
def in_uvicorn(app: Any) -> Iterator[str]:
    """The application under a real uvicorn, in a thread; yields its URL."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def slow_relay(*turns: Any) -> Relay:
    """A relay whose answers end only if they are cancelled: their delay is longer than any wait of these tests."""
    script = turns or [["Let me see. ", Delay(600)]]
    return Relay(ScriptedEngine(script, None), None, RelaySettings(deadline_s=300))


def ask_and_leave(url: str, path: str, student: ScriptedEngine) -> None:
    """Send a question, and close the connection when the student answers; return when the answer has ended."""
    body = json.dumps({"question": "?"})
    head = f"POST {path} HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as connection:
        connection.sendall(f"{head}\r\n\r\n{body}".encode())
        until(lambda: student.active == 1)
    until(lambda: student.active == 0)


@pytest.mark.parametrize("path", ["/answer", "/stream"])
def test_an_answer_ends_when_its_client_leaves(fastapi_app: Any, path: str) -> None:
    relay = slow_relay()
    student: Any = relay.student
    with in_uvicorn(fastapi_app.create_app(lambda: relay)) as url:
        if path == "/answer":
            ask_and_leave(url, path, student)
            return
        with httpx.stream("POST", url + path, json={"question": "?"}, trust_env=False, timeout=60) as response:
            pieces = response.iter_text()  # httpx closes the connection when its iterator is collected
            assert next(pieces) == "L"
            assert student.active == 1
        until(lambda: student.active == 0)


@pytest.mark.parametrize("path", ["/answer", "/stream"])
def test_the_application_reports_errors_by_status(fastapi_app: Any, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    broken = slow_relay([EngineError("out of memory")])
    with in_uvicorn(fastapi_app.create_app(lambda: broken)) as url:
        for _ in range(2):
            reply = httpx.post(url + path, json={"question": "?"}, trust_env=False, timeout=60)
            assert (reply.status_code, reply.json()) == (502, {"detail": "student: out of memory"})
        assert httpx.post(url + path, json={}, trust_env=False, timeout=60).status_code == 422
        assert httpx.post(url + path, json={"question": ""}, trust_env=False, timeout=60).status_code == 422
    monkeypatch.setattr(fastapi_app, "MOST_ANSWERS", 0)
    with in_uvicorn(fastapi_app.create_app(slow_relay)) as url:
        reply = httpx.post(url + path, json={"question": "?"}, trust_env=False, timeout=60)
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("path", ["/answer", "/stream"])
def test_every_answer_gives_its_place_back(fastapi_app: Any, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Also if its client leaves before the first piece of text."""
    monkeypatch.setattr(fastapi_app, "MOST_ANSWERS", 1)
    relay = slow_relay([Delay(600), "late"])
    student: Any = relay.student
    with in_uvicorn(fastapi_app.create_app(lambda: relay)) as url:
        for _ in range(3):  # it would answer 503, without its student, if the place were taken
            ask_and_leave(url, path, student)


def test_uvicorn_stops_after_the_last_answer() -> None:
    """SIGTERM while an answer is streamed: the reader gets all of it, and the server ends well."""
    models, port = free_port(), free_port()
    scripted = [str(ROOT / "testing" / "scripted_server.py"), "--port", str(models), "--delay-s", "0.05"]
    uvicorn = ["-m", "uvicorn", "fastapi_app:app", "--port", str(port), "--timeout-graceful-shutdown", "35"]
    specs = {f"RELAY_{role.upper()}": f"openai:{role}@http://127.0.0.1:{models}/v1" for role in ("student", "teacher")}
    with serving(scripted, models, "/health"), serving(uvicorn, port, "/health", **specs) as server:
        url, question = f"http://127.0.0.1:{port}", {"question": "Item 7"}
        text = httpx.post(f"{url}/answer", json=question, trust_env=False, timeout=60).json()["text"]
        with httpx.stream("POST", f"{url}/stream", json=question, trust_env=False, timeout=60) as response:
            pieces = response.iter_text()
            first = next(pieces)
            server.send_signal(signal.SIGTERM)
            assert first + "".join(pieces) == text
        # uvicorn ends itself with the signal, after its shutdown
        assert server.wait(30) in (0, -signal.SIGTERM)


# -- gunicorn, a worker pool, Celery, Ray ------------------------------------------------------------------


@has_fork
@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
def test_gunicorn_with_threads(options: list[str]) -> None:
    port = free_port()
    gunicorn = ["-m", "gunicorn", "wsgi_app:app", "--workers", "2", "--threads", "4", "--timeout", "60"]
    with serving([*gunicorn, "--bind", f"127.0.0.1:{port}", *options], port, "/") as server:
        texts = [
            httpx.post(f"http://127.0.0.1:{port}", content=QUESTION, trust_env=False, timeout=60).text for _ in range(3)
        ]
        assert all(RIGHT in text for text in texts)
        server.terminate()
        assert server.wait(45) == 0


@has_fork
@pytest.mark.slow
def test_gunicorn_with_fastapi() -> None:
    port = free_port()
    gunicorn = ["-m", "gunicorn", "fastapi_app:app", "-k", "uvicorn.workers.UvicornWorker", "--workers", "2"]
    with serving([*gunicorn, "--bind", f"127.0.0.1:{port}"], port, "/health"):
        reply = httpx.post(f"http://127.0.0.1:{port}/answer", json={"question": QUESTION}, trust_env=False, timeout=60)
        assert RIGHT in reply.json()["text"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=has_fork)])
def test_a_worker_pool(method: str) -> None:
    command = [sys.executable, "-W", "ignore", "docs/examples/worker_pool.py", "--chunk", "1", "--start-method", method]
    done = subprocess.run([*command, *[QUESTION] * 3], cwd=ROOT, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 3, done.stderr
    assert all(RIGHT in line for line in lines)


CELERY = """
import sys
import celery_app
app, folder = celery_app.app, sys.argv[-1]
app.conf.broker_transport_options = {
    "data_folder_in": folder, "data_folder_out": folder, "control_folder": f"{folder}/control"
}
if __name__ == "__main__":
    waiting = [celery_app.answer.delay(sys.argv[1]) for _ in range(3)]
    for result in waiting:
        print(result.get(timeout=100))
"""


@has_fork
@pytest.mark.slow
def test_celery(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "results").mkdir()
    script = CELERY.replace("sys.argv[-1]", repr(str(tmp_path)))
    (tmp_path / "with_folders.py").write_text(script)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(tmp_path)]),
        "CELERY_BROKER": "filesystem://",
        "CELERY_RESULTS": f"file://{tmp_path}/results",
    }
    command = ["-m", "celery", "-A", "with_folders", "worker", "--concurrency", "2", "--loglevel", "ERROR"]
    worker = subprocess.Popen([sys.executable, "-W", "ignore", *command], cwd=tmp_path, env=environment)
    try:
        done = subprocess.run(
            [sys.executable, "with_folders.py", QUESTION], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert [RIGHT in line for line in done.stdout.splitlines()] == [True] * 3
        worker.terminate()
        assert worker.wait(60) == 0
    finally:
        worker.kill()


def test_an_actor_of_ray_is_a_class_that_builds_its_relay() -> None:
    """Ray is not installed for the tests: its decorator is replaced by one that calls the class in this process."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (block,) = [body for body in re.findall(r"```py\n(.*?)```", page, re.DOTALL) if "import ray" in body]

    class Method:
        def __init__(self, method: Any) -> None:
            self.remote = lambda *args: asyncio.run(method(*args))

    class Actor:
        def __init__(self, made: Any) -> None:
            self.answer = Method(made.answer)

    def options(cls: Any, **_: Any) -> Any:
        return SimpleNamespace(remote=lambda *args: Actor(cls(*args)))

    ray: Any = SimpleNamespace(get=lambda x: x, init=lambda: None)
    ray.remote = lambda **resources: lambda cls: options(cls, **resources)
    names: dict[str, Any] = {"questions": [QUESTION] * 2}
    names["ray"] = ray
    exec(block.replace("import ray\n", ""), names)
    assert all(RIGHT in text for text in names["texts"])


# -- tests of an application, and the soak -----------------------------------------------------------------


def test_the_tests_of_an_application_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "docs/examples/test_my_app.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout


@has_fork
@pytest.mark.slow
def test_a_small_soak() -> None:
    command = [sys.executable, "-W", "ignore", "tools/soak.py", "--answers", "120", "--rounds", "1"]
    done = subprocess.run([*command, "--seconds", "60"], cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
