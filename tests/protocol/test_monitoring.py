"""Health, readiness and metrics over HTTP."""

import socket
import urllib.error
import urllib.request

import pytest
from tiny_job import tiny_job

from backend.network.monitoring import Monitoring
from restage4d.errors import InputError

from .conftest import Service

pytest.importorskip("prometheus_client", reason="the extra 'monitoring' is not installed")


def get(port: int, path: str, token: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_figures_are_told_to_who_may_read_them(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = Service(tmp_path / "home", f"monitoring_port = {port}\n")
    try:
        service.start()
        assert get(port, "/health") == (200, '{"status": "OK"}')
        assert get(port, "/ready")[0] == 200
        assert get(port, "/else")[0] == 404
        assert get(port, "/metrics")[0] == 401
        assert get(port, "/metrics", "wrong")[0] == 401
        file = service.home / "keys" / "monitoring"
        assert file.stat().st_mode & 0o77 == 0
        with service.client() as client:
            job = client.submit(tiny_job(client.upload, 1))
            client.cancel(job)
            status, text = get(port, "/metrics", file.read_text().strip())
        assert status == 200
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        jobs = [float(n) for name, n in lines.items() if name.startswith("restage4d_jobs{")]
        assert sum(jobs) == 1
        assert float(lines['restage4d_stored_bytes{user="local"}']) > 1000
        assert float(lines["restage4d_disk_free_bytes"]) > 0
        assert 'restage4d_connections{channel="control",proven="true"}' in lines
        assert "process_open_fds" in lines
    finally:
        service.end()


def test_a_service_that_does_not_work_says_so(tmp_path):
    states = {"well": True, "ready": True}
    monitoring = Monitoring(
        0, tmp_path, lambda: states["well"], lambda: states["ready"], lambda: iter(())
    )
    monitoring.start()
    try:
        assert [get(monitoring.port, path)[0] for path in ("/health", "/ready")] == [200, 200]
        states["ready"] = False  # it ends
        assert [get(monitoring.port, path)[0] for path in ("/health", "/ready")] == [200, 503]
        states["well"] = False  # one of its threads did
        assert get(monitoring.port, "/health")[0] == 503
        with pytest.raises(InputError, match="is taken"):
            Monitoring(monitoring.port, tmp_path, bool, bool, lambda: iter(()))
    finally:
        monitoring.close()
