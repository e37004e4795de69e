"""The conformance suite: ``pytest tests/protocol`` starts a service of its own, ``--address FILE``
takes one that runs.

FILE is the connection file of the service under test. Tests that must kill or set up the service
run with an own one only.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import zmq
from tiny_job import tiny_job

from backend.jobs.job_folder import Folder
from restage4d.protocol import framing
from restage4d.protocol.channel import secure
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import NotRunning

TOML = "slots = 2\n[limits]\nupload_bytes = 67108864\njobs_per_client = 40\n"


def pytest_addoption(parser):
    parser.addoption(
        "--address",
        type=Path,
        default=None,
        help="connection file of the service to test (default: an own one)",
    )


class Service:
    """A service in a folder of its own, started and killed at will."""

    def __init__(self, home: Path, toml: str = TOML, arguments: tuple[str, ...] = ()) -> None:
        self.home, self.arguments = home, arguments
        self.file = home / "connection.json"
        home.mkdir(parents=True, exist_ok=True)
        (home / "service.toml").write_text(toml)
        self.environment = dict(
            os.environ, RESTAGE4D_HOME=str(home), RESTAGE4D_CACHE=str(home / "cache")
        )
        self.process: subprocess.Popen | None = None

    def start(self) -> "Service":
        with (self.home / "service.out").open("ab") as out:
            command = [sys.executable, "-m", "backend", *self.arguments]
            self.process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)
        deadline = time.monotonic() + 120
        while True:
            try:
                with Client.connect(self.file, timeout_s=5.0) as client:
                    if client.hello().pid == self.process.pid:
                        return self
            except NotRunning:
                pass
            assert self.process.poll() is None, (self.home / "service.out").read_text()[-2000:]
            assert time.monotonic() < deadline, "the service did not start"
            time.sleep(0.05)

    def log(self) -> str:
        return (self.home / "service.log").read_text(encoding="utf-8")

    def kill(self) -> None:
        """As the system would: at once, with nothing tidied up. Its workers go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self, timeout_s: float = 30.0) -> Client:
        return Client.connect(self.file, timeout_s=timeout_s)

    def end(self) -> None:
        """Kills the service and every worker of its jobs, those that have not written who they are
        yet as well."""
        if self.process is not None:
            workers = []
            with suppress(psutil.Error):
                workers = psutil.Process(self.process.pid).children(recursive=True)
            self.kill()
            for worker in workers:
                with suppress(psutil.Error):
                    worker.kill()
        for path in (self.home / "jobs").glob("*/pid"):
            if (pid := Folder(path.parent).read_pid()) is not None:
                with suppress(psutil.Error):
                    psutil.Process(pid).kill()


@pytest.fixture(scope="session")
def address(request, tmp_path_factory):
    """The connection file of the service under test."""
    given = request.config.getoption("--address", default=None)
    if given:
        yield given
        return
    service = Service(tmp_path_factory.mktemp("service")).start()
    yield service.file
    service.end()


@pytest.fixture
def client(address):
    with Client.connect(address, timeout_s=60.0) as client:
        yield client


class Raw:
    """Frames to and from one ROUTER, as they are."""

    def __init__(self, connection: Connection, channel: str, queue: int = 1000) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.RCVHWM, queue)  # messages that are read ahead
        secure(self.socket, connection)
        self.socket.connect(connection.address(channel))

    def ask(self, frames: list[bytes], seconds: float = 20.0):
        """The answer to frames, None where there is none."""
        self.socket.send_multipart(frames)
        return self.answer(seconds)

    def answer(self, seconds: float = 20.0):
        if not self.socket.poll(int(seconds * 1000)):
            return None
        return framing.decode(self.socket.recv_multipart(copy=False), framing.REPLIES)

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def work(address):
    raw = Raw(Connection.read(address), "work")
    yield raw
    raw.close()


@pytest.fixture
def control(address):
    raw = Raw(Connection.read(address), "control")
    yield raw
    raw.close()


@pytest.fixture(scope="session")
def done_job(address):
    """A tiny job that ran to its end, with all events that came meanwhile."""
    events = []
    with Client.connect(address, timeout_s=60.0) as client:
        job = client.submit(tiny_job(client.upload, steps=60))
        status = client.watch(job, lambda event, arrays: events.append((event, arrays)))
    assert status.state == "done", status
    return job, status, events


@pytest.fixture
def own(tmp_path):
    """A service that a test may kill; not yet started."""
    service = Service(tmp_path / "home")
    yield service
    service.end()
