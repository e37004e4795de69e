"""Health, readiness and Prometheus metrics over HTTP, on loopback alone.

``/health``: 200 while the service works, else 503; ``/ready``: 200 while it takes jobs.
``/metrics`` tells of users and jobs and asks for the token in ``keys/monitoring``, as
``Authorization: Bearer``.
"""

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from backend.jobs.job_table import JobTable
from backend.network.connections import Connections
from backend.pools import Pool
from backend.store.content_store import Store
from restage4d.errors import InputError
from restage4d.io.atomic import replacing

HOST = "127.0.0.1"


class Monitoring:
    """An HTTP server of figures.

    Args:
        port: to listen on.
        keys: the folder of keys; the token is kept there.
        is_well, is_ready: what ``/health`` and ``/ready`` tell.
        gauges: measures everything anew for ``/metrics``.

    Raises:
        InputError: the library is missing, or the port is taken.
    """

    def __init__(
        self,
        port: int,
        keys: Path,
        is_well: Callable[[], bool],
        is_ready: Callable[[], bool],
        gauges: Callable[[], Iterator[tuple[str, str, tuple[str, ...], dict]]],
    ) -> None:
        try:
            # late: an extra that few have
            import prometheus_client as prometheus  # pyright: ignore[reportMissingImports]
            from prometheus_client.core import (  # pyright: ignore[reportMissingImports]
                GaugeMetricFamily,
            )
            from prometheus_client.exposition import (  # pyright: ignore[reportMissingImports]
                ThreadingWSGIServer,
            )
        except ImportError as error:
            raise InputError(
                "monitoring_port is set, and prometheus-client is not installed.",
                "Install restage4d[backend,monitoring].",
            ) from error

        class Collector:
            def collect(self) -> Iterator[Any]:
                for name, words, labels, values in gauges():
                    family = GaugeMetricFamily(f"restage4d_{name}", words, labels=labels)
                    for key, value in values.items():
                        family.add_metric([str(k) for k in key], float(value))
                    yield family

        registry = prometheus.CollectorRegistry(auto_describe=False)
        registry.register(Collector())  # pyright: ignore[reportArgumentType]
        prometheus.ProcessCollector(registry=registry)
        self._metrics = prometheus.make_wsgi_app(registry)
        self._token = _read_token(keys / "monitoring")
        self._states = {"/health": is_well, "/ready": is_ready}
        try:
            self._server = make_server(
                HOST, port, self._answer, ThreadingWSGIServer, handler_class=_Handler
            )
        except OSError as error:
            raise InputError(
                f"Port {port} of {HOST} is taken by another program.",
                "Set another monitoring_port.",
            ) from error
        self.port = self._server.server_port

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="monitoring", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if environ.get("REQUEST_METHOD") != "GET":
            return _say(start, "405 Method Not Allowed")
        if path in self._states:
            good = self._states[path]()
            return _say(start, "200 OK" if good else "503 Service Unavailable")
        if path != "/metrics":
            return _say(start, "404 Not Found")
        given = environ.get("HTTP_AUTHORIZATION", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return _say(start, "401 Unauthorized")
        return self._metrics(environ, start)


class _Handler(WSGIRequestHandler):
    timeout = 5.0  # of a client that says nothing

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: whoever looks, looks often."""


def _say(start: Callable, status: str) -> list[bytes]:
    body = json.dumps({"status": status[4:]}).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _read_token(path: Path) -> str:
    """Drawn once; whoever can read the service's folder can read it."""
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_urlsafe(32) + "\n")
    return path.read_text().strip()


def measure_service(
    jobs: JobTable, store: Store, connections: Connections, pools: dict[str, Pool]
) -> Iterator[tuple[str, str, tuple[str, ...], dict]]:
    """Gauges of a service: name, meaning, names of labels, values by the labels' values."""
    by_state: dict[tuple[str, str], int] = jobs.count()
    yield "jobs", "Jobs in the table.", ("user", "state"), by_state
    holdings = {(user,): size for user, size in jobs.count_holdings().items()}
    yield "stored_bytes", "What users brought or had made.", ("user",), holdings
    yield "disk_free_bytes", "Free on the store's disk.", (), {(): store.free()}
    counts = {
        (channel, str(proven).lower()): n for (channel, proven), n in connections.count().items()
    }
    yield "connections", "Open connections.", ("channel", "proven"), counts
    held = {(user or "nobody",): size for user, size in connections.count_held().items()}
    yield "held_bytes", "Messages and answers in the service's memory.", ("user",), held
    yield "connections_cut", "Connections cut off since the start.", (), {(): connections.dropped}
    waiting = {(kind,): pool.count() for kind, pool in pools.items()}
    yield "requests_waiting", "Requests that wait or are worked on.", ("kind",), waiting
