"""Answers from a WSGI application, as under gunicorn's threads.

    cd docs/examples
    gunicorn wsgi_app:app --workers 2 --threads 8 --timeout 60 --graceful-timeout 35
    curl localhost:8000 --data 'A pen costs 62 coins. …'

The relay that is built here loads nothing before its first answer, so ``--preload`` works too. The models
end with their worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from relay_core import Relay, RelayError, RelaySettings

relay = Relay(settings=RelaySettings(deadline_s=30))


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] != "POST":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"POST a question"]
    question = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    try:
        status, text = "200 OK", relay.generate(question).text
    except RelayError as error:
        status, text = "502 Bad Gateway", str(error)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]
