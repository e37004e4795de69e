"""Who has no key, who reads nothing, who floods: what they hold, and whether others notice."""

import contextlib
import hashlib
import os
import socket
import struct
import threading
import time

import psutil
import zmq
from protocol.conftest import Raw, Service
from protocol.test_another_user import spy
from protocol.test_strangers import GREETING

from backend.__main__ import raise_descriptor_limit
from backend.store.hashing import Hashing
from restage4d.protocol import framing
from restage4d.protocol.channel import secure
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.messages import CHUNK, Fetch

from .run import PATIENCE_S, Run, submit_tiny, time_revocation, until
from .speed import ask_meanwhile, compute_p99


def strangers(run: Run) -> None:
    """Connections without a key: thousands that wait, and large frames that never end."""
    count = 400 if run.short else 2000
    raise_descriptor_limit()  # of this process: it opens all of them
    with run.service("strangers") as service, service.client(PATIENCE_S) as client:
        connection = Connection.read(service.file)
        process, ports = psutil.Process(connection.pid), list(connection.ports.values())
        client.hello()
        _measure_alone(run, client)
        memory, times, peak = process.memory_info().rss, [], 0
        with contextlib.ExitStack() as stack, ask_meanwhile(client, times):
            fds = process.num_fds()
            for i in range(count):
                stack.enter_context(socket.create_connection(("127.0.0.1", ports[i % 4])))
                peak = max(peak, process.memory_info().rss)
            time.sleep(1.0)
            held = process.num_fds() - fds
            waiting = time_revocation(run, service)
        with ask_meanwhile(client, times):
            end = time.monotonic() + (5 if run.short else 30)
            while time.monotonic() < end:
                with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                    for _ in range(24):
                        one = socket.create_connection(("127.0.0.1", connection.ports["work"]))
                        stack.enter_context(one)
                        one.settimeout(0.2)
                        one.sendall(GREETING + struct.pack(">BQ", 6, CHUNK) + bytes(1 << 20))
                peak = max(peak, process.memory_info().rss)
        opened, told = spy(service.home, connection) if os.geteuid() == 0 else ([], [])
        if os.geteuid() != 0:
            print("  another user: left out, it needs root")
        run.add(f"sockets that {count} connections without a key hold", held, "", 64)
        run.add("memory growth by clients without a key", (peak - memory) / 2**20, "MiB", 64)
        run.add("status round trip p99 meanwhile", compute_p99(times), "ms", 50)
        run.add("revoked while they wait: out within", waiting, "s", 1)
        run.add("files that another user of the machine read", len(opened), "", 0)
        run.add("sockets that told another user anything", len(told), "", 0)


def _measure_alone(run: Run, client: Client) -> None:
    """What the machine does to an answer by itself."""
    times: list[float] = []
    with ask_meanwhile(client, times):
        time.sleep(3.0)
    run.add("status round trip p99 before", compute_p99(times), "ms")


def readers(run: Run) -> None:
    """Six clients that ask for much and read nothing; a flood of subscriptions; two programs that
    bring one file; a large file that is hashed."""
    path, times = run.place / "a", []
    path.write_bytes(os.urandom(CHUNK))
    with run.service("readers") as service, service.client(PATIENCE_S) as client:
        connection = Connection.read(service.file)
        process = psutil.Process(connection.pid)
        content = client.upload(path)
        channel = client._open_channel()
        channel.request(Fetch(content=content, length=1), timeout_s=60)
        _measure_alone(run, client)
        before = process.memory_info().rss
        slow = [Raw(connection, "work", queue=1) for _ in range(6)]
        with ask_meanwhile(client, times):
            for raw in slow:
                for _ in range(100):
                    raw.socket.send_multipart(framing.encode(Fetch(content=content)))
            time.sleep(3.0)
            held = (process.memory_info().rss - before) / 2**20
            seconds = time_revocation(run, service)
            channel.request(Fetch(content=content, length=1), timeout_s=60)
        run.add("memory that six slow readers hold", held, "MiB", 6 * 64 + 100)
        run.add("others that were cut off by it", channel.drops, "", 0)
        run.add("status round trip p99 meanwhile", compute_p99(times), "ms")
        run.add("revoked beside slow readers: out within", seconds, "s", 1)
        channel.close()
        [raw.close() for raw in slow]
        starts, seconds = _flood(run, service, client)
        run.add("a job starts under a flood of subscriptions", starts, "s", 5)
        run.add("revoked under that flood: out within", seconds, "s", 1)
        path.write_bytes(os.urandom(40_000_000))
        threads = [threading.Thread(target=_upload, args=(service, path)) for _ in range(2)]
        began = time.perf_counter()
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        run.add("two programs bring one file of 40 MB", time.perf_counter() - began, "s", 10)
    large, small = run.place / "large", run.place / "small"
    with large.open("wb") as file:
        file.truncate((256 if run.short else 1024) << 20)
    small.write_bytes(b"0123456789")
    hashing = Hashing()
    hashing.submit(large)
    began = time.perf_counter()
    right = hashing.submit(small).result(60).digest() == hashlib.sha256(b"0123456789").digest()
    seconds = time.perf_counter() - began
    run.add("10 bytes are hashed beside a large file", seconds if right else 60, "s", 0.5)


def _flood(run: Run, service: Service, client: Client) -> tuple[float, float]:
    """Seconds until a job runs, and until a revoked client is out, while another subscribes to a
    hundred thousand jobs."""
    context, connection = zmq.Context(), Connection.read(service.file)
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SNDHWM, 0)
    secure(socket, connection)
    socket.connect(connection.address("progress"))
    stop = threading.Event()

    def subscribe() -> None:
        for i in range(100_000):
            if stop.is_set():
                return
            socket.setsockopt(zmq.SUBSCRIBE, f"{i:032x}".encode())

    thread = threading.Thread(target=subscribe)
    thread.start()
    time.sleep(0.5)
    job = submit_tiny(client, 1)
    began = time.perf_counter()
    until(lambda: client.status(job).state != "queued")
    starts = time.perf_counter() - began
    seconds = time_revocation(run, service)
    stop.set()
    thread.join()
    context.destroy(linger=0)
    until(lambda: client.status(job).state == "done")
    return starts, seconds


def _upload(service, path) -> None:
    with service.client(PATIENCE_S) as client:
        client.upload(path)
