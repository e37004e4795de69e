"""What somebody without a key, or one who reads nothing, can do to the service and the others."""

import contextlib
import os
import socket
import struct
import threading
import time

import numpy as np
import psutil
import pytest
import zmq
from tiny_job import tiny_job

from backend.network.connections import Connections, Peer, _find_peer
from restage4d.protocol import framing
from restage4d.protocol.channel import secure
from restage4d.protocol.connection import Connection
from restage4d.protocol.messages import Error, Fetch
from restage4d.protocol.transfer import CHUNK

from .conftest import Raw
from .test_jobs import until

needs_linux = pytest.mark.skipif(
    not hasattr(socket, "TCP_INFO") or not hasattr(psutil.Process, "num_fds"),
    reason="needs what Linux tells of connections",
)
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + b"\x00" + bytes(31)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5.0)


@needs_linux
def test_a_stranger_holds_few_sockets(own):
    own.start()
    connection = Connection.read(own.file)
    process = psutil.Process(connection.pid)
    with own.client() as client, contextlib.ExitStack() as stack:
        client.hello()
        before, times = process.num_fds(), []
        for i in range(400):
            stack.enter_context(connect(list(connection.ports.values())[i % 4]))
            if i % 10 == 0:
                began = time.perf_counter()
                client.jobs()
                times.append(time.perf_counter() - began)
        until(lambda: process.num_fds() - before <= 64 + 4, 10)
        assert process.num_fds() - before > 30  # some wait, as an honest client would
        assert np.median(times) < 0.1
        client.hello()
        with own.client(10.0) as late:  # and somebody honest still comes in
            assert late.hello().pid == connection.pid


@needs_linux
def test_a_stranger_fills_no_memory(own):
    """One frame of the largest size that would be read, begun again and again and never ended."""
    own.start()
    connection = Connection.read(own.file)
    process = psutil.Process(connection.pid)
    with own.client() as client:
        client.hello()
        before, most = process.memory_info().rss, 0
        for _ in range(60):
            with connect(connection.ports["work"]) as one, contextlib.suppress(OSError):
                one.sendall(GREETING + struct.pack(">BQ", 6, CHUNK))
                for _ in range(3):
                    one.sendall(bytes(1 << 20))
                    time.sleep(0.01)
            most = max(most, process.memory_info().rss - before)
        assert most < 64 << 20
        assert client.hello().pid == connection.pid


def test_slow_readers_fill_no_memory_and_disturb_nobody(own, tmp_path):
    (tmp_path / "a").write_bytes(os.urandom(CHUNK))
    own.start()
    connection = Connection.read(own.file)
    process = psutil.Process(connection.pid)
    with own.client() as client:
        content = client.upload(tmp_path / "a")
        client.fetch(content, tmp_path / "b")
        channel = client._open_channel()
        channel.request(Fetch(content=content, length=1), timeout_s=20)
        before = process.memory_info().rss
        raws = [Raw(connection, "work", queue=1) for _ in range(3)]
        for raw in raws:
            for _ in range(60):
                raw.socket.send_multipart(framing.encode(Fetch(content=content)))
        time.sleep(2.0)
        # 64 MiB wait for each of them, besides what the system's own buffers took
        assert process.memory_info().rss - before < 3 * (64 << 20) + (120 << 20)
        channel.request(Fetch(content=content, length=1), timeout_s=20)
        assert channel.drops == 0
        channel.close()
        # who reads at last gets what was taken, and was told of the rest
        answers = [raws[0].answer() for _ in range(60)]
        codes = [a.body.code if isinstance(a.body, Error) else "" for a in answers]
        assert set(codes) == {"", "busy"}
        assert codes.count("") >= 12
        [raw.close() for raw in raws]


@needs_linux
def test_a_flood_of_subscriptions_fills_no_memory(own):
    """ZeroMQ keeps every topic, also those that its client may not follow."""
    own.start()
    connection = Connection.read(own.file)
    process = psutil.Process(connection.pid)
    context = zmq.Context()
    try:
        with own.client() as client:
            client.hello()
            before = process.memory_info().rss
            few, many = context.socket(zmq.SUB), context.socket(zmq.SUB)
            for one in (few, many):
                one.setsockopt(zmq.SNDHWM, 0)
                secure(one, connection)
                one.connect(connection.address("progress"))
            job = framing.new_id()
            for i in range(1000):  # as many as one likes, one after the other
                few.setsockopt(zmq.SUBSCRIBE, f"{i:032x}".encode())
                few.setsockopt(zmq.UNSUBSCRIBE, f"{i:032x}".encode())
            few.setsockopt(zmq.SUBSCRIBE, job.encode())
            for _ in range(150_000):
                many.setsockopt(zmq.SUBSCRIBE, os.urandom(16).hex().encode())
            until(lambda: "more than 4096 subscriptions" in own.log(), 20)
            time.sleep(2.0)  # it comes again and again
            many.close(linger=0)
            assert (
                process.memory_info().rss - before < 96 << 20
            )  # 140 MiB and more without the limit
            until(lambda: client.hello().pid == connection.pid, 10)
            client.submit(tiny_job(client.upload, 1, key=job))
            assert few.poll(20_000)
            assert few.recv_multipart()[0] == job.encode()
    finally:
        context.destroy(linger=0)


@needs_linux
def test_one_connection_that_follows_much_takes_nothing_from_the_next(own):
    """Whoever follows hundreds of jobs to come still hears of their next one elsewhere."""
    own.start()
    connection = Connection.read(own.file)
    context = zmq.Context()
    try:
        with own.client() as client:
            client.hello()
            many, few = context.socket(zmq.SUB), context.socket(zmq.SUB)
            for one in (many, few):
                one.setsockopt(zmq.SNDHWM, 0)
                secure(one, connection)
                one.connect(connection.address("progress"))
            for _ in range(400):
                many.setsockopt(zmq.SUBSCRIBE, os.urandom(16).hex().encode())
            time.sleep(2.0)  # all of these are there
            job = framing.new_id()
            few.setsockopt(zmq.SUBSCRIBE, job.encode())
            time.sleep(1.0)
            client.submit(tiny_job(client.upload, 1, key=job))
            assert few.poll(20_000)
            assert few.recv_multipart()[0] == job.encode()
    finally:
        context.destroy(linger=0)


def speak(port: int, kind: bytes = b"DEALER") -> socket.socket:
    """A connection that has said what ZMTP 3 asks for where there are no keys."""
    one = connect(port)
    one.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    read = one.makefile("rb").read
    assert len(read(64)) == 64  # its greeting
    one.sendall(bytes([4, len(ready)]) + ready)
    assert read(read(2)[1])[1:6] == b"READY"
    return one


@needs_linux
def test_an_endless_message_ends_its_own_connection_alone():
    """ZeroMQ holds a message of many frames until it is whole."""
    connections, stopping = Connections(40e6), threading.Event()
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    connections.watch(router, "work")
    port = router.bind_to_random_port("tcp://127.0.0.1")
    thread = threading.Thread(target=connections.run, args=(stopping,))
    thread.start()
    try:
        with speak(port) as bad, speak(port) as good:
            for one, user in ((bad, "bad"), (good, "good")):
                one.sendall(b"\x00\x02hi")
                frames = router.recv_multipart(copy=False)[1:]
                assert connections.note_message(frames[0], 1, 2, "work", user) > 0
            assert connections.count() == {("work", True): 2}
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 100 << 20:
                    bad.sendall(struct.pack(">BQ", 3, 1 << 20) + bytes(1 << 20))  # and more
                    sent += 1 << 20
                    held = connections.count_held()
                    assert held["good"] < 10_000
                    time.sleep(0.01)
            assert sent < 60 << 20  # a quarter of 40 MB, and what came before the next look
            until(lambda: connections.count() == {("work", True): 1}, 10)
            good.sendall(b"\x00\x03you")
            assert router.recv_multipart()[1] == b"you"
            assert connections.dropped == 1
    finally:
        stopping.set()
        thread.join()
        router.disable_monitor()  # before its reader goes
        context.destroy(linger=0)


def test_of_one_user_the_connection_with_the_most_subscriptions_goes(monkeypatch):
    """Not the one that asked last."""
    connections, dropped = Connections(1e9), []
    monkeypatch.setattr(connections, "_drop", lambda peer: dropped.append(peer.fd))
    monkeypatch.setattr("backend.network.connections._count_bytes", lambda fd: (0, 0))
    for fd, user, topics in ((900, "anna", 4000), (901, "anna", 95), (902, "ben", 4096)):
        connections._peers[fd] = Peer(fd, "progress", None, 0.0, user, proven=True, topics=topics)
    assert connections.note_topic(901, 1)
    assert not dropped
    assert connections.note_topic(901, 1)
    assert dropped == [900]
    assert not connections.note_topic(902, 1)
    assert dropped == [900, 902]


def test_the_oldest_connections_go_of_who_has_too_many(monkeypatch):
    connections, dropped = Connections(1e9), []
    monkeypatch.setattr(connections, "_drop", lambda peer: dropped.append(peer.fd))
    for fd in range(1200):
        user = ("anna", "", "ben", "")[fd // 300]
        peer = Peer(fd, "work", None, float(1200 - fd), user, proven=fd < 900)
        connections._peers[fd] = peer
    for fd in range(2000, 2400):
        connections._peers[fd] = Peer(fd, "work", None, 5000.0 + fd, "anna", proven=True)
    connections._cut_off()
    # anna had 700, of which 512 stay; 300 had not spoken yet, of which 256 stay; the last 300 have
    # shown no good key and are counted elsewhere
    assert sorted(dropped) == [*range(300 - 188, 300), *range(600 - 44, 600)]
    assert len(connections._peers) == 1600 - len(dropped)


@needs_linux
def test_only_the_connection_that_was_meant_is_cut():
    """Its number may belong to another one by then."""
    connections = Connections(1e9)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with connect(port) as first, connect(port):
            here = [server.accept()[0] for _ in range(2)]
            peer = connections._peers[here[0].fileno()] = _find_peer(here[0].fileno(), "work")
            peer.fd = here[1].fileno()
            connections._drop(peer)
            assert connections.dropped == 0
            peer.fd = here[0].fileno()
            connections._drop(peer)
            assert connections.dropped == 1
            assert first.recv(1) == b""
            [one.close() for one in here]
