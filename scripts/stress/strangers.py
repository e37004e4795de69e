"""Who has no key, who reads nothing, who floods: what they hold, and whether others notice."""

import contextlib
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import zmq
from protocol.conftest import Raw
from protocol.test_strangers import GREETING

from backend.__main__ import raise_descriptor_limit
from backend.network.keys import Keys
from backend.store.hashing import Hashing
from restage4d.protocol import framing
from restage4d.protocol.channel import secure
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import CHUNK, Fetch

from .run import PATIENCE_S, Run, submit_tiny, until
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
            seconds = _revoke(run, service.home, connection)
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
        run.add(f"sockets that {count} connections without a key hold", held, "", 64)
        run.add("memory growth by clients without a key", (peak - memory) / 2**20, "MiB", 64)
        run.add("status round trip p99 meanwhile", compute_p99(times), "ms", 50)
        run.add("revoked while they wait: out within", seconds, "s", 1)
        run.add("files that another user of the machine read", _read_as_nobody(service.home), "", 0)


def _measure_alone(run: Run, client: Client) -> None:
    """What the machine does to an answer by itself."""
    times: list[float] = []
    with ask_meanwhile(client, times):
        time.sleep(3.0)
    run.add("status round trip p99 before", compute_p99(times), "ms")


def _revoke(run: Run, home, connection: Connection) -> float:
    """Seconds until a client that asks all the time is out."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    keys = Keys(home / "keys")
    keys.allow("anna", public)
    file = run.place / "anna.json"
    replace(connection, public_key=public, secret_key=secret, pid=0).write(file)
    with Client.connect(file, timeout_s=20.0) as anna:
        anna.jobs()
        keys.revoke("anna")
        began = time.perf_counter()
        with contextlib.suppress(WireError):
            while time.perf_counter() - began < 30:
                anna.jobs()
                time.sleep(0.01)
        return time.perf_counter() - began


def _read_as_nobody(home) -> int:
    """How many of the service's files a process of another user opens."""
    code = (
        "import os, sys; os.setgid(65534); os.setuid(65534); n = 0\n"
        "for name in ('connection.json', 'jobs.sqlite', 'service.log', 'last.json'):\n"
        "    try: open(os.path.join(sys.argv[1], name)); n += 1\n"
        "    except OSError: pass\n"
        "print(n)"
    )
    if os.geteuid() != 0:
        print("  another user: left out, it needs root")
        return 0
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


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
            channel.request(Fetch(content=content, length=1), timeout_s=60)
        run.add("memory that six slow readers hold", held, "MiB", 6 * 64 + 100)
        run.add("others that were cut off by it", channel.drops, "", 0)
        run.add("status round trip p99 meanwhile", compute_p99(times), "ms")
        channel.close()
        [raw.close() for raw in slow]
        run.add("a job starts under a flood of subscriptions", _flood(client, connection), "s", 5)
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


def _flood(client: Client, connection: Connection) -> float:
    """Seconds until a job runs while a client subscribes to a hundred thousand others."""
    context = zmq.Context()
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
    seconds = time.perf_counter() - began
    stop.set()
    thread.join()
    context.destroy(linger=0)
    until(lambda: client.status(job).state == "done")
    return seconds


def _upload(service, path) -> None:
    with service.client(PATIENCE_S) as client:
        client.upload(path)
