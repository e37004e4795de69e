"""Garbage, wrong keys and old tokens."""

import hashlib
import os
import random
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import psutil
import zmq
from protocol.conftest import Raw
from protocol.test_fuzz import ARRAYS, GOOD

from restage4d.protocol import framing
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import Refused
from restage4d.protocol.messages import (
    Error,
    Hello,
    UploadBegin,
    UploadChunk,
    UploadReady,
)

from .run import PATIENCE_S, Run


def fuzz(run: Run) -> None:
    """The service answers, refuses or drops whatever comes, and stays as it is."""
    total = 4000 if run.short else 100_000
    with run.service("fuzz") as service, service.client(PATIENCE_S) as client:
        connection = Connection.read(service.file)
        process = psutil.Process(connection.pid)
        before, peak, slowest = process.memory_info().rss, 0, 0.0
        raws = [Raw(connection, name) for name in ("work", "control")]
        for i in range(total):
            raw = raws[i % 2]
            raw.socket.send_multipart(mutated(run.random))
            while raw.socket.poll(0):
                raw.socket.recv_multipart()
            if i % 1000 == 999:
                peak = max(peak, process.memory_info().rss)
                began = time.perf_counter()
                client.hello()
                slowest = max(slowest, time.perf_counter() - began)
        [raw.close() for raw in raws]
        sockets = total // 100
        for i in range(sockets):
            _raw_socket(
                connection.ports[("work", "control", "progress", "heartbeat")[i % 4]], run.random
            )
        alive = client.hello().pid == connection.pid and process.is_running()
        growth = (max(peak, process.memory_info().rss) - before) / 2**20
    run.add("mutated messages", total, "")
    run.add("raw connections with garbage", sockets, "")
    run.add("the same service still answers", float(alive), "", 1, least=True)
    run.add("slowest hello between them", slowest, "s", 5)
    run.add("memory growth", growth, "MiB", 200)


def _count_refusals(log: str) -> int:
    """Refused clients that a log tells of: a line each, or a line that counts those within the same
    second."""
    more = re.findall(r"and (\d+) more like the last one", log)
    return log.count("refused a client") + sum(map(int, more))


def security(run: Run) -> None:
    """Wrong key, another service's key, an old version, a replayed token: refused, logged and
    told."""
    with run.service("security") as service:
        right = Connection.read(service.file)
        log = service.home / "service.log"
        public, secret = (k.decode() for k in zmq.curve_keypair())
        for name, wrong in (
            ("wrong key", {"public_key": public, "secret_key": secret}),
            ("another service's key", {"server_key": public}),
        ):
            replace(right, **wrong).write(run.place / "wrong.json")
            began = time.perf_counter()
            refused = _raises(
                Refused, lambda: Client.connect(run.place / "wrong.json", timeout_s=20).close()
            )
            seconds = time.perf_counter() - began
            run.add(
                f"{name}: refused and told within", seconds if refused else float("inf"), "s", 5
            )
        end = (
            time.monotonic() + 10
        )  # what ZeroMQ refuses by itself is logged by a thread that looks twice a second
        while (logged := _count_refusals(log.read_text())) < 3 and time.monotonic() < end:
            time.sleep(0.1)
        run.add("refusals logged", logged, "", 3, least=True)
        control, work = Raw(right, "control"), Raw(right, "work")
        old = framing.encode(Hello())
        old[0] = framing.SIGNATURE + b"\x00"
        reply = control.ask(old)
        told = reply is not None and isinstance(reply.body, Error) and reply.body.code == "version"
        run.add(
            "old protocol version: told and logged",
            float(told and "protocol version 0" in log.read_text()),
            "",
            1,
            least=True,
        )
        data = np.frombuffer(os.urandom(1000), np.uint8)
        ready = work.ask(
            framing.encode(UploadBegin(content=hashlib.sha256(data).hexdigest(), size=1000))
        ).body
        assert isinstance(ready, UploadReady)
        chunk = framing.encode(UploadChunk(token=ready.token, offset=0), [data])
        work.ask(chunk)
        reply = work.ask(chunk).body
        told = isinstance(reply, Error) and reply.code == "refused"
        run.add(
            "replayed upload token: refused, logged, told",
            float(told and "spent upload token" in log.read_text()),
            "",
            1,
            least=True,
        )
        control.close(), work.close()


def mutated(rng: random.Random) -> list[bytes]:
    """A good message in which bits, fields, arrays or frames were changed."""
    frames = [
        bytes(f) for f in framing.encode(rng.choice(GOOD), rng.sample(ARRAYS, rng.randrange(3)))
    ]
    way = rng.randrange(6)
    if way < 2:
        at = rng.randrange(len(frames))
        data = bytearray(frames[at])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        frames[at] = bytes(data)
    elif way == 2:
        header = msgspec.msgpack.decode(frames[1])
        place = rng.choice([header, header["body"]])
        odd = [
            None,
            -1,
            2**63,
            1.5,
            float("nan"),
            "x" * 5000,
            b"\xff" * 9,
            [],
            {},
            [["u1", [2**31] * 4]],
            "../" * 20,
            True,
        ]
        place[rng.choice(sorted(place))] = rng.choice(odd)
        frames[1] = msgspec.msgpack.encode(header)
    elif way == 3:
        frames = [rng.choice(frames) for _ in range(rng.randint(1, 30))]
    elif way == 4:
        frames[1] = frames[1][: rng.randrange(len(frames[1]))]
    else:
        frames = [rng.randbytes(rng.randrange(200)) for _ in range(rng.randint(1, 5))]
    return frames


def _raw_socket(port: int, rng: random.Random) -> None:
    """Bytes that are no ZMTP, or break off within its greeting."""
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01PLAIN" + bytes(15 + 1 + 31)
    data = rng.choice(
        [
            b"GET / HTTP/1.1\r\n\r\n",
            rng.randbytes(rng.randrange(1, 3000)),
            greeting + rng.randbytes(100),
            greeting,
        ]
    )
    with socket.create_connection(("127.0.0.1", port)) as one:
        try:
            one.sendall(data[: rng.randint(1, len(data))])
        except OSError:
            return


def _raises(kind: type[Exception], do: Callable[[], object]) -> bool:
    try:
        do()
    except kind:
        return True
    return False
