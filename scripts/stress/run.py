"""One run of the script: its figures, its services, and what all sections need."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import zmq
from protocol.conftest import Service
from tiny_job import tiny_job

from backend.network.keys import Keys
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import TimedOut, WireError
from restage4d.puppet import Puppet

# of clients: how long an answer takes is measured where that counts, and a busy machine may stand
# still
PATIENCE_S = 600.0
TOML = "slots = 2\nattempts = 1000\n[limits]\njobs_per_client = 1000\n"


@dataclass
class Figure:
    """One line of the report. ``limit`` is the most or the least that is allowed, as ``least``
    says; None: for the record."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False

    @property
    def good(self) -> bool:
        return self.limit is None or (
            self.value >= self.limit if self.least else self.value <= self.limit
        )


class Run:
    """What every section gets.

    Args:
        place: a folder that goes with the run.
        short: fewer repetitions.
    """

    def __init__(self, place: Path, short: bool) -> None:
        self.place, self.short = place, short
        self.repeats = 2 if short else 20
        self.random = random.Random(7)
        self.figures: list[Figure] = []

    def add(
        self, name: str, value: float, unit: str, limit: float | None = None, least: bool = False
    ) -> None:
        figure = Figure(name, value, unit, limit, least)
        self.figures.append(figure)
        bound = "" if limit is None else f"   ({'at least' if least else 'at most'} {limit:g})"
        print(f"{'  ' if figure.good else 'X '}{name:<62} {value:12.4g} {unit}{bound}", flush=True)

    @contextmanager
    def service(self, name: str, toml: str = TOML) -> Iterator[Service]:
        """A service of its own that runs, and is killed with its workers in the end."""
        service = Service(self.place / name, toml)
        try:
            yield service.start()
        finally:
            service.end()

    def check_done(self, client: Client, jobs: list[str], what: str) -> None:
        """All jobs end well, and every puppet that is handed out is one."""
        until(
            lambda: all(client.status(job).state == "done" for job in jobs), 120.0 * len(jobs) + 600
        )
        bad = 0
        for job in jobs:
            try:
                Puppet.load(client.fetch_puppet(job, self.place / "one.puppet"))
            except Exception as error:
                print(f"  {job}: {error}")
                bad += 1
        self.add(f"{what}: jobs lost", len(set(jobs) - {s.id for s in client.jobs()}), "", 0)
        self.add(f"{what}: corrupt puppets handed out", bad, "", 0)


def submit_tiny(client: Client, steps: int, key: str = "") -> str:
    """Hands in a job that takes seconds and returns its id; 100 steps take about two seconds."""
    return client.submit(tiny_job(client.upload, steps, key=key))


def time_revocation(run: Run, service: Service) -> float:
    """Seconds from the moment a key is revoked until its client, which asks all the time, is out;
    30 where it stays."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    keys = Keys(service.home / "keys")
    keys.allow("anna", public)
    file = run.place / "anna.json"
    known = Connection.read(service.file)
    replace(known, public_key=public, secret_key=secret, pid=0).write(file)
    with Client.connect(file, timeout_s=20.0) as anna:
        anna.jobs()
        keys.revoke("anna")
        began = time.perf_counter()
        with suppress(WireError):
            while time.perf_counter() - began < 30:
                anna.jobs()
                time.sleep(0.01)
        return time.perf_counter() - began


def worker_pid(service: Service, job: str) -> int:
    """Of the process that works, or last worked, on a job; 0 where there is none yet."""
    try:
        return int((service.home / "jobs" / job / "pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def until(condition: Callable[[], object], seconds: float = 600.0) -> None:
    """Waits for what must happen, also on a machine that stood still meanwhile. Raises TimeoutError
    where it does not."""
    end = time.monotonic() + seconds
    while True:
        with suppress(TimedOut):
            if condition():
                return
        if time.monotonic() > end:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.05)
