"""How fast bytes go, and how fast the service answers meanwhile."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median

import numpy as np
from tiny_job import ENDLESS

from backend.store.content_store import Store
from restage4d.protocol.client import Client

from .run import (
    PATIENCE_S,
    Run,
    runs,
    sha256,
    submit_tiny,
    time_revocation,
    until,
    worker_pid,
)


def transfer(run: Run) -> None:
    """Uploads and fetches of a large file, and status requests while an upload runs.

    The first round is told apart: it is the one that writes to memory which the system has not
    given out before, and a virtual machine has to ask its host for that.
    """
    megabytes = 200 if run.short else 1000
    path, back, block = run.place / "big.bin", run.place / "back.bin", os.urandom(50_000_000)
    up, down, times, wrong, out = [], [], [], 0, []
    with run.service("transfer", "slots = 1\n") as service, service.client(PATIENCE_S) as client:
        for _ in range(4):
            with path.open("wb") as file:
                file.write(os.urandom(64))
                for _ in range(megabytes // 50):
                    file.write(block)
            with ask_meanwhile(client, times):
                began = time.perf_counter()
                content = client.upload(path)
                up.append(megabytes / (time.perf_counter() - began))
            with ThreadPoolExecutor(1) as aside:
                leaving = aside.submit(time_revocation, run, service)
                client.fetch(content, back)  # not timed: the other one asks meanwhile
                out.append(leaving.result())
            began = time.perf_counter()
            client.fetch(content, back)
            down.append(megabytes / (time.perf_counter() - began))
            wrong += not sha256(back) == content == sha256(path)
            Store(service.home / "store").remove(content)
            back.unlink()
    path.unlink()
    run.add("SHA-256 alone", _hash_rate(block), "MB/s")
    run.add("first upload, hashed on both sides", up[0], "MB/s")
    run.add("first fetch, hashed", down[0], "MB/s")
    run.add("upload, hashed on both sides, median of 3", median(up[1:]), "MB/s", 400, least=True)
    run.add("fetch, hashed, median of 3", median(down[1:]), "MB/s", 400, least=True)
    run.add("status round trip p99 during uploads", compute_p99(times), "ms", 20)
    run.add("revoked during a fetch: out within, slowest", max(out), "s", 1)
    run.add("transfers that came out wrong", wrong, "of 4", 0)


def cancel(run: Run) -> None:
    """Status requests while a fit runs, and ending fits at random moments."""
    times, acks, gone = [], [], []
    with run.service("cancel", "slots = 1\n") as service, service.client(PATIENCE_S) as client:
        for i in range(run.repeats):
            job = submit_tiny(client, ENDLESS)
            until(
                lambda job=job: client.status(job).state == "running" and worker_pid(service, job)
            )
            if i == 0:
                until(lambda job=job: client.status(job).step > 5)
                with ask_meanwhile(client, times):
                    time.sleep(5 if run.short else 20)
            else:
                time.sleep(run.random.uniform(0, 6))
            pid = worker_pid(service, job)
            began = time.perf_counter()
            client.cancel(job)
            acks.append(time.perf_counter() - began)
            until(lambda pid=pid: not runs(pid))
            gone.append(time.perf_counter() - began)
            until(lambda job=job: client.status(job).state == "cancelled")
    run.add("status round trip p99 while a fit runs", compute_p99(times), "ms", 20)
    run.add("cancel: times", len(acks), "")
    run.add("cancel acknowledged, slowest", 1e3 * max(acks), "ms", 200)
    run.add("cancelled job's process gone, slowest", max(gone), "s", 5)


_ASKING = """
import json, sys, threading, time
from pathlib import Path
from restage4d.protocol.client import Client
times, stop = [], threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
with Client.connect(Path(sys.argv[1]), timeout_s=600) as client:
    print("up", flush=True)
    while not stop.wait(0.005):
        began = time.perf_counter()
        client.jobs()
        times.append(time.perf_counter() - began)
print(json.dumps(times))
"""


@contextmanager
def ask_meanwhile(client: Client, times: list[float]) -> Iterator[None]:
    """Asks for the jobs all the time, in a process of its own so that this one's work does not
    count; adds the seconds of every answer."""
    command = [sys.executable, "-c", _ASKING, str(client.path)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen(command, env=environment, **pipes)
    assert child.stdout
    child.stdout.readline()
    try:
        yield
    finally:
        out, _ = child.communicate(timeout=600)
        times += json.loads(out)


def _hash_rate(block: bytes) -> float:
    """MB/s of one core."""
    began = time.perf_counter()
    hashlib.sha256(block)
    return len(block) * 1e-6 / (time.perf_counter() - began)


def compute_p99(times: list[float]) -> float:
    """In ms."""
    return float(1e3 * np.percentile(times, 99))
