"""A local HTTP server that gives the replies that a test put down for it, and remembers what it was
asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]  # status, JSON or bytes, further headers


@dataclass
class Asked:
    """A request that came: method, path with query, headers, JSON body."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Stub:
    """``replies``: for each (method, beginning of the path) what to say, in turn, the last for
    ever."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    replies: dict[tuple[str, str], list[Reply | Callable[[Asked], Reply]]] = field(
        default_factory=dict
    )

    def on(self, method: str, path: str, *replies: "Reply | Callable[[Asked], Reply]") -> None:
        self.replies[(method, path)] = list(replies)

    def count(self, method: str, path: str) -> int:
        return sum(a.method == method and a.path.startswith(path) for a in self.asked)


@contextmanager
def serve() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(
                self.command, self.path, dict(self.headers), json.loads(data) if data else None
            )
            stub.asked.append(asked)
            fitting = [
                k for k in stub.replies if k[0] == self.command and self.path.startswith(k[1])
            ]
            reply: Any = (
                404,
                {
                    "error": {
                        "code": 404,
                        "message": f"nothing at {self.path}",
                        "status": "NOT_FOUND",
                    }
                },
            )
            if fitting:
                row = stub.replies[max(fitting, key=lambda k: len(k[1]))]
                reply = row.pop(0) if len(row) > 1 else row[0]
            status, body, *more = reply(asked) if callable(reply) else reply
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            headers = {
                "Content-Type": "application/octet-stream"
                if isinstance(body, bytes)
                else "application/json"
            }
            headers |= {"Content-Length": str(len(content))} | (more[0] if more else {})
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_DELETE = _answer

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
