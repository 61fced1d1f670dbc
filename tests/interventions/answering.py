"""A local server with the part of the chat protocol that `ai_step` needs."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """A server that records requests and answers with `reply`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        """Path, headers (lower case) and body of each request."""
        self.reply: Reply = lambda handler: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection."""


class Handler(BaseHTTPRequestHandler):
    """The handler of one request."""

    server: Server

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append({"path": self.path, "headers": headers, "body": content})
        self.server.reply(self)

    def do_GET(self) -> None:
        self.server.asked.append({"path": self.path, "headers": dict(self.headers), "body": None})
        self.send_error(404)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


def raw(status: int, body: bytes, **headers: str) -> Reply:
    """Return a reply with this status, body and these headers (`_` for `-`)."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (fields | {k.replace("_", "-"): v for k, v in headers.items()}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def completion(text: str | None, finish_reason: str = "stop") -> Reply:
    """Return a reply that is a chat completion with this text."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
    return raw(200, json.dumps(whole | {"choices": [choice]}).encode())


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of this machine for the length of the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
