"""What only an own service can show: starting, killing, keys, full disks, damaged files."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
import zmq
from tiny_job import ENDLESS, tiny_job

from backend.file_lock import FileLock, is_locked
from backend.jobs.job_folder import Folder
from backend.network.keys import Keys, make_client
from backend.store.content_store import Store
from restage4d.cli import main
from restage4d.errors import InputError
from restage4d.protocol import framing
from restage4d.protocol.channel import secure
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import NotRunning, Refused, WireError
from restage4d.protocol.messages import Hello
from restage4d.protocol.service import start_service, stop_service
from restage4d.puppet import Puppet

from .conftest import Service
from .test_jobs import until


def is_refused(client: Client) -> bool:
    try:
        client.hello()
    except (Refused, NotRunning):
        return True
    return False


def test_nobody_there_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path))
    with pytest.raises(NotRunning, match="restage4d serve"):
        Client.connect()
    public, secret = (k.decode() for k in zmq.curve_keypair())
    ports = {"work": 1, "control": 2, "progress": 3, "heartbeat": 4}
    Connection("127.0.0.1", ports, public, public, secret).write(tmp_path / "c.json")
    with pytest.raises(NotRunning, match="Nobody answers"):
        Client.connect(tmp_path / "c.json", timeout_s=0.5)
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(NotRunning, match="cannot be used"):
        Client.connect(tmp_path / "c.json")


def test_start_find_and_stop(tmp_path, monkeypatch):
    """What Blender does: start with it, find what runs, end with it."""
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path / "home"))
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with start_service(parent_pid=parent.pid, timeout_s=120) as client:
            pid = client.hello().pid
        if os.name != "nt":
            assert (tmp_path / "home" / "connection.json").stat().st_mode & 0o77 == 0
        with start_service() as client:
            assert client.hello().pid == pid
        command = [sys.executable, "-m", "backend"]
        second = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env=dict(os.environ)
        )
        assert "runs already" in second.stdout
    finally:
        parent.kill()
        parent.wait()
    until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE,
        60,
    )
    assert stop_service() is False
    start_service(timeout_s=120).close()
    assert stop_service() is True


def test_wrong_and_missing_keys_are_refused_and_logged(own):
    own.start()
    right = Connection.read(own.file)
    public, secret = (k.decode() for k in zmq.curve_keypair())
    replace(right, public_key=public, secret_key=secret).write(own.home / "wrong.json")
    began = time.monotonic()
    with pytest.raises(Refused, match="does not know the key"):
        Client.connect(own.home / "wrong.json", timeout_s=20)
    assert time.monotonic() - began < 10
    replace(right, server_key=public).write(own.home / "other.json")
    with pytest.raises(Refused):
        Client.connect(own.home / "other.json", timeout_s=20)
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(right.address("control"))
    socket.send_multipart(framing.encode(Hello()))
    assert not socket.poll(1000)
    context.destroy(linger=0)
    assert "refused a client" in (own.home / "service.log").read_text()
    with own.client() as client:
        assert client.hello().user == "local"


def test_who_took_the_port_learns_nothing(own):
    """Another user's program on the ports of a service that ended: it has not the service's key."""
    own.start()
    connection = Connection.read(own.file)
    own.file.rename(own.home / "old.json")
    own.kill()
    context = zmq.Context()
    impostor = context.socket(zmq.ROUTER)
    impostor.setsockopt(zmq.CURVE_SERVER, 1)
    impostor.curve_secretkey = zmq.curve_keypair()[1]  # and lets everybody in
    impostor.bind(connection.address("control"))
    with pytest.raises((Refused, NotRunning)):
        Client.connect(own.home / "old.json", timeout_s=3)
    assert not impostor.poll(0)
    context.destroy(linger=0)


def test_another_machine_needs_a_key_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path / "home"))
    service = Service(tmp_path / "home", arguments=("--bind", "0.0.0.0")).start()
    try:
        with service.client() as client:
            mine = client.submit(tiny_job(client.upload, ENDLESS))
        for name in ("anna", "ben"):
            assert (
                main.main(
                    [
                        "keys",
                        "make",
                        name,
                        "--host",
                        "127.0.0.1",
                        "--out",
                        str(tmp_path / f"{name}.json"),
                    ]
                )
                == 0
            )
        with Client.connect(tmp_path / "anna.json", timeout_s=20) as anna:
            assert anna.hello().user == "anna"
            assert anna.jobs() == []
            for request in (anna.status, anna.cancel, anna.delete):
                with pytest.raises(WireError) as caught:
                    request(mine)
                assert caught.value.code == "not_found"
            with pytest.raises(WireError) as caught:
                anna.submit(tiny_job(anna.upload, key=mine))
            assert caught.value.code == "refused"
            with pytest.raises(WireError) as caught:
                anna.shutdown()
            assert caught.value.code == "refused"
            assert main.main(["keys", "revoke", "anna"]) == 0
            until(lambda: is_refused(anna), 20)
        with pytest.raises(Refused):
            Client.connect(tmp_path / "anna.json", timeout_s=20)
        with Client.connect(tmp_path / "ben.json", timeout_s=20) as ben:
            assert ben.hello().user == "ben"
        stranger = Connection.read(tmp_path / "ben.json")
        public, secret = (k.decode() for k in zmq.curve_keypair())
        replace(stranger, public_key=public, secret_key=secret).write(tmp_path / "stranger.json")
        with pytest.raises(Refused):
            Client.connect(tmp_path / "stranger.json", timeout_s=20)
        replace(stranger, server_key=public).write(tmp_path / "other.json")
        with pytest.raises((Refused, NotRunning)):
            Client.connect(tmp_path / "other.json", timeout_s=8)
    finally:
        service.end()


def test_keys_that_are_none_are_refused(tmp_path):
    keys = Keys(tmp_path / "keys")
    for name, public in (
        ("../x", "a" * 40),
        ("local", "a" * 40),
        ("ok", "short"),
        ("ok", "é" * 40),
    ):
        with pytest.raises(InputError):
            keys.allow(name, public)
    with pytest.raises(InputError, match="nobody"):
        keys.revoke("nobody")
    with pytest.raises(NotRunning):
        make_client(tmp_path, "anna", "host", tmp_path / "a.json")


def test_a_job_outlives_the_service_and_its_own_process(own, tmp_path):
    """kill -9 of the service, then of the worker; a damaged checkpoint; the same job is done in the
    end, once."""
    own.start()
    with own.client() as client:
        job = client.submit(tiny_job(client.upload, steps=1200))
        until(
            lambda: (
                client.status(job).step > 20 and client.status(job).stage == "photometric fusion"
            )
        )
        folder = own.home / "jobs" / job
        worker = Folder(folder).read_pid()
        assert worker is not None
        own.kill()
        assert psutil.pid_exists(worker)
        own.start()
        status = client.status(job)  # the same client, as the ports are the same
        assert status.state == "running"
        assert status.attempts == 1
        assert Folder(folder).read_pid() == worker
        until(lambda: (folder / "work" / "checkpoint.safetensors").exists())
        psutil.Process(worker).kill()
        until(lambda: client.status(job).attempts == 2)
        until(lambda: Folder(folder).read_pid() not in (None, worker))
        again = Folder(folder).read_pid()
        psutil.Process(again).suspend()
        path = folder / "work" / "checkpoint.safetensors"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)
        psutil.Process(again).kill()
        status = client.watch(job, lambda event, arrays: None)
        assert status.state == "done", status
        assert status.attempts == 3
        Puppet.load(client.fetch_puppet(job, tmp_path / "a.puppet"))
        assert len(client.jobs()) == 1


def test_a_damaged_result_is_never_handed_out(own, tmp_path):
    own.start()
    (tmp_path / "a").write_bytes(bytes(range(256)) * 100)
    with own.client() as client:
        content = client.upload(tmp_path / "a")
        path = Store(own.home / "store").path(content)
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.write_bytes(data)
        with pytest.raises(WireError) as caught:
            client.fetch(content, tmp_path / "b")
        assert caught.value.code == "damaged"
        assert not (tmp_path / "b").exists()
        client.upload(tmp_path / "a")
        assert client.fetch(content, tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


@pytest.mark.skipif(
    not hasattr(psutil.Process, "rlimit"), reason="needs a limit on file sizes, as Linux has"
)
def test_a_full_disk_is_told_and_survived(own, tmp_path):
    own.start()
    (tmp_path / "a").write_bytes(os.urandom(9 << 20))
    process = psutil.Process(Connection.read(own.file).pid)
    with own.client() as client:
        process.rlimit(psutil.RLIMIT_FSIZE, (1 << 20, psutil.RLIM_INFINITY))
        with pytest.raises(WireError) as caught:
            client.upload(tmp_path / "a")
        assert caught.value.code == "no_room"
        assert client.alive(10)
        process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
        client.upload(tmp_path / "a")


def test_a_flood_of_frames_does_not_fill_the_memory(own):
    """One message of endless frames: ZeroMQ holds it until it is whole, so the service drops the
    connection."""
    (own.home / "service.toml").write_text("memory_gigabytes = 0.3\n")
    own.start()
    connection = Connection.read(own.file)
    process = psutil.Process(connection.pid)
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    secure(socket, connection)
    socket.setsockopt(zmq.SNDTIMEO, 2000)
    socket.connect(connection.address("work"))
    frame = bytes(4 << 20)
    try:
        for _ in range(300):  # 1.2 GB
            socket.send(frame, zmq.SNDMORE, copy=False)
            time.sleep(0.005)
        with own.client() as client:
            assert client.hello().pid == connection.pid
        until(lambda: process.memory_info().rss < 400 << 20, 30)
    finally:
        context.destroy(linger=0)


_HOLDER = """
import sys
from pathlib import Path
from backend.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
input()
"""


def test_a_lock_goes_with_its_process(tmp_path):
    command = [sys.executable, "-c", _HOLDER, str(tmp_path / "lock")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    assert child.stdout.readline().strip() == "True"
    assert is_locked(tmp_path / "lock")
    assert not FileLock(tmp_path / "lock").acquire()
    child.kill()
    child.wait()
    assert not is_locked(tmp_path / "lock")
