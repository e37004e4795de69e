"""Another user of the same machine: reads no file of the service, and is told nothing by its
sockets, nor by clients where it took the ports of a service that was killed."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from zmq.utils import z85

from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import NotRunning, Refused, TimedOut

NOBODY = 65534
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes another user"
)
# What both do first: load what they need, then be somebody else for good.
_BECOME = f"""
import json, os, socket, struct, sys, time
import zmq
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""
# Opens every file, tries every socket with a pair of its own, without one, and in plain text.
_SPY = (
    _BECOME
    + """
home, ports = sys.argv[1], json.loads(sys.argv[2])
files = [os.path.join(home, name) for name in json.loads(sys.argv[3])]
opened, told = [], []
for path in [home, *files]:
    for flags in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(path, flags))
            opened.append(path)
        except OSError:
            pass
context = zmq.Context()
sockets = []
for kind, channel in ((zmq.DEALER, "work"), (zmq.DEALER, "control"), (zmq.SUB, "progress"),
                      (zmq.REQ, "heartbeat")):
    for way in ("curve", "plain", "none"):
        one = context.socket(kind)
        one.linger = 0
        if way == "curve":
            one.curve_serverkey = sys.argv[4].encode()
            one.curve_publickey, one.curve_secretkey = zmq.curve_keypair()
        elif way == "plain":
            one.plain_username, one.plain_password = b"local", b"x"
        if kind == zmq.SUB:
            one.setsockopt(zmq.SUBSCRIBE, b"")
        one.connect(f"tcp://127.0.0.1:{ports[channel]}")
        if kind != zmq.SUB:
            one.send_multipart([b"R4D\\x01", b"\\x80"] if kind == zmq.DEALER else [b"ping"])
        sockets.append((one, f"{channel} {way}"))
time.sleep(2.0)
told = [name for one, name in sockets if one.poll(0)]
print(json.dumps([opened, told]), flush=True)
os._exit(0)
"""
)
# Takes a port and plays a service that asks for keys (and has others), a password, or nothing in
# turn; keeps every byte that it is sent.
_IMPOSTOR = (
    _BECOME
    + """
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("here", flush=True)
server.settimeout(0.2)
got, turn, end = b"", 0, time.monotonic() + 60
while time.monotonic() < end and not os.path.exists(sys.argv[2]):
    try:
        one, _ = server.accept()
    except OSError:
        continue
    name = (b"CURVE", b"PLAIN", b"NULL")[turn % 3]
    turn += 1
    one.settimeout(0.2)
    try:
        one.sendall(b"\\xff" + bytes(8) + b"\\x7f\\x03")
        got += one.recv(65536)
        one.sendall(b"\\x01" + name.ljust(20, bytes(1)) + b"\\x01" + bytes(31))
        while data := one.recv(65536):
            got += data
    except OSError:
        pass
    one.close()
print(got.hex(), flush=True)
"""
)


def spy(home: Path, connection: Connection) -> tuple[list[str], list[str]]:
    """What another user opens of a service's folder, and the sockets that told them anything."""
    files = [str(path.relative_to(home)) for path in home.rglob("*")]
    arguments = [str(home), json.dumps(connection.ports), json.dumps(files), connection.server_key]
    done = subprocess.run(
        [sys.executable, "-c", _SPY, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    opened, told = json.loads(done.stdout)
    return opened, told


@needs_root
def test_another_user_reads_nothing_and_is_told_nothing(own, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:3]):  # of a worker's tests one more
        if folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)  # the way there is open: the folder itself is shut
    own.home.chmod(0o755)  # as an older version left it
    (own.home / "jobs").mkdir(exist_ok=True)
    own.start()
    with own.client() as client:
        (tmp_path / "a").write_bytes(b"a video")
        client.upload(tmp_path / "a")
        connection = Connection.read(own.file)
        assert len(list(own.home.rglob("*"))) > 10
        assert spy(own.home, connection) == ([], [])
        assert client.hello().pid == connection.pid
    refusals = (own.home / "service.log").read_text()
    assert "refused a client" in refusals
    own.home.chmod(0o755)  # and it is the service that shuts it, not the test's folder
    assert str(own.home) in spy(own.home, connection)[0]


@needs_root
def test_a_port_that_was_taken_after_a_kill_is_told_no_secret(own, tmp_path):
    own.start()
    connection = Connection.read(own.file)
    own.file.rename(own.home / "old.json")
    own.kill()
    stop = Path("/tmp") / f"restage4d_stop_{os.getpid()}"
    port = str(connection.ports["control"])
    command = [sys.executable, "-c", _IMPOSTOR, port, str(stop)]
    impostor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert impostor.stdout
        assert impostor.stdout.readline().strip() == "here"
        with pytest.raises((Refused, NotRunning, TimedOut)):
            Client.connect(own.home / "old.json", timeout_s=3)
        stop.touch()
        got = bytes.fromhex(impostor.communicate(timeout=30)[0].strip())
    finally:
        with contextlib.suppress(FileNotFoundError):
            stop.unlink()
        impostor.kill()
        impostor.wait()
    assert got[12:17] == b"CURVE"  # it came, and said how it speaks
    assert b"\x05HELLO" in got  # and began, locked with the key of the service that it knows
    for key in (connection.secret_key, connection.public_key, connection.server_key):
        assert key.encode() not in got
        assert z85.decode(key.encode()) not in got
    assert b"restage4d" not in got
