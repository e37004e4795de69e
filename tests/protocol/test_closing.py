"""Whatever the other side does, or does not do any more, nobody waits for it when they go."""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest
import zmq

from restage4d.protocol import channel as channels
from restage4d.protocol import framing
from restage4d.protocol.channel import Channel, find_context
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection, ConnectionFile
from restage4d.protocol.errors import NotRunning, Refused, TimedOut
from restage4d.protocol.messages import CHUNK, Fetch

from .conftest import Raw
from .test_strangers import GREETING, connect


def do_within(seconds: float, do, *arguments) -> None:
    """On a thread of its own, so that a call that never comes back fails the test alone."""
    thread = threading.Thread(target=do, args=arguments, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"{do} did not come back"


@contextlib.contextmanager
def hanging_up():
    """A program that takes every connection and ends it at once: a port, and how many came."""
    came = [0]
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()
                    came[0] += 1

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def make_connection(port: int) -> Connection:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    ports = dict.fromkeys(("work", "control", "progress", "heartbeat"), port)
    return Connection("127.0.0.1", ports, public, public, secret)


def test_events_that_nobody_reads_hold_nobody_up(monkeypatch):
    """As those of a panel that is left open over night while the service is not there."""
    monkeypatch.setattr(channels, "_WATCHED", zmq.EVENT_ALL)
    with hanging_up() as (port, came):
        context = find_context()
        one = context.socket(zmq.DEALER)
        one.setsockopt(zmq.RECONNECT_IVL, 1)
        channels.secure(one, make_connection(port))
        monitor = channels._watch(one)
        one.connect(f"tcp://127.0.0.1:{port}")
        end = time.monotonic() + 60
        while came[0] < 800 and time.monotonic() < end:  # five events each; 2,000 fill a queue
            time.sleep(0.05)
        assert came[0] >= 800
        do_within(10, channels._close_in_order, one, monitor)


def test_channels_that_nobody_closes_hold_nobody_up(address):
    with hanging_up() as (port, _):
        for _ in range(5):
            channel = Channel(find_context(), ConnectionFile(make_connection(port), None), "work")
            circle = [channel.socket, channel.monitor, channel]
            circle.append(circle)
            gone = channel._close
            del channel, circle
            do_within(10, gc.collect)
            assert not gone.alive
        with Client.connect(address, timeout_s=20.0) as client:
            assert client.alive(10.0)


def test_closing_twice_is_closing(address):
    channel = Channel(find_context(), ConnectionFile(Connection.read(address), None), "work")
    channel.close()
    channel.close()
    assert channel.socket.closed
    assert channel.monitor.closed


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs a signal that stops a process")
def test_a_service_that_stands_still_holds_no_client(own, tmp_path):
    own.start()
    connection = Connection.read(own.file)
    (tmp_path / "a").write_bytes(os.urandom(3 * CHUNK))
    known, process = own.client(1.0), psutil.Process(connection.pid)
    known.hello()
    transfer = known._open_channel()
    process.suspend()
    try:
        with pytest.raises(TimedOut):
            [known.hello() for _ in range(5)]  # its threads stop one by one, as they come to run
        for _ in range(8):  # within its handshake
            late = Client(connection, None, 0.1)
            with pytest.raises((NotRunning, TimedOut)):
                late.hello()
            do_within(5, late.close)
        with contextlib.suppress(TimedOut, NotRunning):
            for _ in range(8):  # what is queued for it
                transfer.send(Fetch(content="0" * 64), deadline=time.monotonic() + 0.2)
        do_within(5, transfer.close)
        do_within(5, known.close)
        stranger = make_connection(connection.ports["control"])
        stranger = replace(connection, public_key=stranger.public_key, pid=0)
        do_within(5, Client(stranger, None, 0.1).close)
    finally:
        process.resume()
    with own.client() as client:
        assert client.hello().pid == connection.pid


def test_refused_clients_leave_at_once(own):
    own.start()
    right = Connection.read(own.file)
    public, secret = (key.decode() for key in zmq.curve_keypair())
    for wrong in ({"public_key": public, "secret_key": secret}, {"server_key": public}):
        for _ in range(5):
            client = Client(replace(right, pid=0, **wrong), None, 10.0)
            with pytest.raises(Refused):
                client.hello()
            do_within(5, client.close)
        for pause in range(0, 20, 2):  # while it is being refused
            client = Client(replace(right, pid=0, **wrong), None, 0.001 * pause)
            with pytest.raises((Refused, NotRunning, TimedOut)):
                client.hello()
            do_within(5, client.close)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs a signal that stops a process")
def test_the_service_waits_for_nobody_when_it_ends(own, tmp_path):
    """Strangers within their handshakes, one who reads nothing, and one who was stopped."""
    (tmp_path / "a").write_bytes(os.urandom(CHUNK))
    own.start()
    connection = Connection.read(own.file)
    with own.client() as client, contextlib.ExitStack() as stack:
        content = client.upload(tmp_path / "a")
        reader = Raw(connection, "work", queue=1)
        stack.callback(reader.close)
        for _ in range(40):
            reader.socket.send_multipart(framing.encode(Fetch(content=content)))
        for port in connection.ports.values():
            for greeting in (b"", GREETING[:20], GREETING):
                stack.enter_context(connect(port)).sendall(greeting)
        code = (
            "import sys, time; from pathlib import Path\n"
            "from restage4d.protocol.client import Client\n"
            "client = Client.connect(Path(sys.argv[1]), timeout_s=60)\n"
            "print(1, flush=True); time.sleep(600)\n"
        )
        command = [sys.executable, "-c", code, str(own.file)]
        stopped = subprocess.Popen(command, stdout=subprocess.PIPE)
        stack.callback(stopped.wait)
        stack.callback(stopped.kill)
        assert stopped.stdout
        assert stopped.stdout.readline()
        os.kill(stopped.pid, signal.SIGSTOP)
        time.sleep(0.5)
        assert own.process
        own.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert own.process.wait(30) == 0
        assert time.monotonic() - began < 15
        assert not own.file.exists()
