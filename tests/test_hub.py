"""The hub when it does not answer, or does: a server on loopback."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from relay_core import ConfigurationError, engine_from_spec, hub
from relay_core.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "DEADLINE_S", 0.5)
    monkeypatch.setattr(hub, "_answers", {})


@pytest.fixture(params=["refuses", "silent"])
def dead_endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listening.listen()
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        yield endpoint


async def test_a_hub_that_does_not_answer_costs_seconds_not_half_a_minute(dead_endpoint: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=rf"no folder.*cache.*{dead_endpoint}.*did not answer within 0\.5 s"):
        Tokenizer.load("some/model")
    with pytest.raises(ConfigurationError, match="did not answer"):
        await engine_from_spec("transformers:some/model").start()
    assert time.monotonic() - began < 10


def test_a_dataset_that_cannot_be_had_costs_seconds_too(dead_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import config

    from relay_core.evaluate.dataset_rows import hub_rows

    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=rf"some/data is not in the cache.*{dead_endpoint}.*--data-dir DIR"):
        hub_rows("some/data", None, "test")
    assert time.monotonic() - began < 5
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match="HF_HUB_OFFLINE is set"):
        hub.check_dataset("some/data")
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", Path(constants.HF_HUB_CACHE))
    (Path(constants.HF_HUB_CACHE) / "some___data" / "default").mkdir(parents=True)
    hub.check_dataset("some/data")


def test_what_is_cached_is_loaded_without_the_hub(
    dead_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    snapshot = tmp_path / "cache" / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = tmp_path / "cache" / "models--some--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    monkeypatch.setattr(hub, "DEADLINE_S", 0.5)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache("some/model", "config.json", cache_dir=tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: found)
    assert hub.download_options("some/model") == {"local_files_only": True}


def test_folders_offline_mode_and_a_hub_that_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert hub.download_options("some/model") == {}
    finally:
        server.shutdown()
        server.server_close()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.download_options(str(tmp_path)) == {}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.download_options("some/model") == {}


FILES = {
    "adapter_config.json": b'{"peft_type": "LORA"}',
    "adapter_model.safetensors": b"weights",
    "other.bin": b"other",
}


class Hub(BaseHTTPRequestHandler):
    """The little of the hub's protocol that a download needs: one adapter, and one whole model."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.removeprefix("/api/models").lstrip("/").partition("?")[0].split("/")
        owner, model, kind, name = *parts[:3], *[""] * (3 - len(parts)), parts[-1]
        repository = f"{owner}/{model}"
        names = list(FILES) if repository == "owner/adapter" else ["config.json"]
        if kind == "revision":
            self._send(json.dumps({"id": repository, "sha": "0" * 40}).encode())
        elif kind == "tree":
            files = [{"type": "file", "path": name, "size": len(FILES[name]), "oid": "1" * 40} for name in names]
            self._send(json.dumps(files).encode())
        elif name in names:
            self._send(FILES.get(name, b"{}"))
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if repository.startswith("owner/") else "RepoNotFound")
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield url
    server.shutdown()
    server.server_close()


def test_an_adapter_is_downloaded_and_a_whole_model_is_none(endpoint: str) -> None:
    folder = hub.folder_with("owner/adapter", "adapter_config.json", ["adapter_*"])
    assert folder is not None
    assert {path.name for path in Path(folder).iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert hub.folder_with("owner/model", "adapter_config.json", ["adapter_*"]) is None
    assert hub.folder_with("nobody/model", "adapter_config.json", ["adapter_*"]) is None
