"""The HTTP server of the status page: loopback only, reading only, behind a token.

It is a client of the service like any other and sees what its key may see. Whoever has the token,
which the address that it prints carries, sees the same; other websites in the same browser do not:
the cookie is for this page alone, and a request that names another host is refused.
"""

import json
import secrets
import tempfile
import threading
from functools import partial
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from restage4d.errors import InputError
from restage4d.protocol.client import Client
from restage4d.protocol.errors import WireError
from restage4d.status_page.splats import PuppetShelf, pack_splats

HOST = "127.0.0.1"
_COOKIE = "restage4d"
_STATIC = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_RESULTS = {  # results that the page shows
    "contact_sheet.png": "image/png",
    "body_plan.png": "image/png",
    "preview.mp4": "video/mp4",
    "report.json": "application/json",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class StatusPage:
    """The page of the service behind a connection file.

    Args:
        connection: see `Client.connect`.
        port: 0 takes a free one.

    Example:
        >>> page = StatusPage(None)
        >>> print(page.address)
        >>> page.serve()

    Raises:
        InputError: no service runs, or the port is taken.
    """

    def __init__(self, connection: Path | None, port: int = 0) -> None:
        self._client = Client.connect(connection)
        self.token = secrets.token_urlsafe(24)
        try:
            self._server = ThreadingHTTPServer((HOST, port), partial(_Handler, self))
        except OSError as error:
            self._client.close()
            raise InputError(
                f"Port {port} cannot be used: {error.strerror}.", "Give another --port, or none."
            ) from error
        self._server.daemon_threads = True
        self._asking = threading.Lock()  # a client is driven from one thread
        self._folder = tempfile.TemporaryDirectory(prefix="restage4d_page_")
        self._shelf = PuppetShelf()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def address(self) -> str:
        """What a browser opens; it holds the token."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def serve(self) -> None:
        """Answers until `close`."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Ends `serve` and removes what was fetched."""
        self._server.shutdown()
        self._server.server_close()
        self._client.close()
        self._folder.cleanup()

    # --- what the page asks for -------------------------------------------------------------------

    def list_jobs(self) -> list[dict[str, Any]]:
        """The jobs, newest first, as the page's script reads them."""
        with self._asking:
            return [msgspec.to_builtins(job) for job in self._client.jobs()]

    def read_preview(self, job: str) -> bytes:
        """The newest preview picture, a PNG file."""
        with self._asking:
            return self._client.fetch_preview(job)

    def read_result(self, job: str, name: str) -> bytes:
        """A finished job's result."""
        with self._asking:
            content = self._client.status(job).artefacts.get(name)
            if content is None:
                raise WireError(f"The job has no {name}.", "It may not be done.", "not_found")
            path = Path(self._folder.name) / content.content
            if not path.is_file():
                self._client.fetch(content.content, path)
        return path.read_bytes()

    def describe_puppet(self, job: str) -> dict[str, Any]:
        """Performances of a finished puppet and their numbers of frames."""
        puppet = self._fetch_puppet(job)
        return {
            "points": len(puppet.subject.means),
            "performances": [
                {"name": p.name, "frames": p.n_frames, "fps": p.fps} for p in puppet.performances
            ],
        }

    def pose_puppet(self, job: str, performance: int, frame: int) -> bytes:
        """See `pack_splats`."""
        puppet = self._fetch_puppet(job)
        if not 0 <= performance < len(puppet.performances):
            raise InputError("The puppet has no such performance.", "Reload the page.")
        return pack_splats(puppet.pose(puppet.performances[performance], frame))

    def _fetch_puppet(self, job: str):
        with self._asking:
            content = self._client.status(job).artefacts.get("puppet")
            if content is None:
                raise WireError("The job has no puppet.", "It may not be done.", "not_found")
            path = Path(self._folder.name) / f"{content.content}.puppet"
            if not path.is_file():
                self._client.fetch(content.content, path)
            return self._shelf.take(path)


class _Handler(BaseHTTPRequestHandler):
    server_version = "restage4d"
    sys_version = ""
    timeout = 30  # seconds: a browser that says nothing holds no thread

    def __init__(self, page: StatusPage, *arguments: Any) -> None:
        self._page = page
        super().__init__(*arguments)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self.headers.get("Host") not in (
            f"{HOST}:{self._page.port}",
            f"localhost:{self._page.port}",
        ):
            self._answer_error(HTTPStatus.FORBIDDEN, "This page answers to its own address only.")
            return
        given = parse_qs(parts.query).get("token", [""])[0]
        if given and self._is_token(given):
            self._enter()
            return
        if not self._is_token(self._read_cookie()):
            self._answer_error(
                HTTPStatus.FORBIDDEN,
                "Open the address that restage4d page printed: it has the token.",
            )
            return
        try:
            self._route([unquote(part) for part in parts.path.split("/")], parts.path)
        except WireError as error:
            missing = error.code == "not_found"
            self._answer_error(
                HTTPStatus.NOT_FOUND if missing else HTTPStatus.BAD_GATEWAY, str(error)
            )
        except InputError as error:
            self._answer_error(HTTPStatus.NOT_FOUND, str(error))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the browser went on

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address, and so the token, would stand in the terminal."""

    def _route(self, parts: list[str], path: str) -> None:
        match parts:
            case [""] | ["", _] if path in _STATIC:
                name, kind = _STATIC[path]
                file = resources.files("restage4d.status_page") / "static" / name
                self._answer(file.read_bytes(), kind)
            case ["", "jobs"]:
                self._answer_json(self._page.list_jobs())
            case ["", "jobs", job, "preview"]:
                self._answer(self._page.read_preview(job), "image/png")
            case ["", "jobs", job, "results", name] if name in _RESULTS:
                self._answer(self._page.read_result(job, name), _RESULTS[name])
            case ["", "jobs", job, "puppet"]:
                self._answer_json(self._page.describe_puppet(job))
            case ["", "jobs", job, "splats", performance, frame] if (
                performance.isdecimal() and frame.isdecimal()
            ):
                rows = self._page.pose_puppet(job, int(performance), int(frame))
                self._answer(rows, "application/octet-stream")
            case _:
                self._answer_error(HTTPStatus.NOT_FOUND, "There is no such page.")

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._page.token.encode())

    def _read_cookie(self) -> str:
        name = f"{_COOKIE}_{self._page.port}"
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        except Exception:  # a cookie of another program that the library cannot read
            return ""
        return found.value if found else ""

    def _enter(self) -> None:
        """Keeps the token as a cookie, so that it stands in no further address."""
        self.send_response(HTTPStatus.SEE_OTHER)
        cookie = f"{_COOKIE}_{self._page.port}={self._page.token}"
        self.send_header("Set-Cookie", f"{cookie}; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("Location", "/")
        self._end_headers(0)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self._end_headers(len(body))
        self.wfile.write(body)

    def _answer_json(self, value: Any) -> None:
        self._answer(json.dumps(value).encode(), "application/json")

    def _answer_error(self, status: HTTPStatus, sentence: str) -> None:
        body = sentence.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self._end_headers(len(body))
        self.wfile.write(body)

    def _end_headers(self, length: int) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
