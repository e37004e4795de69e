"""Words, numbers and ports that are not what they seem."""

import hashlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from backend.logs import (
    RareLog,
    _Allowance,
    _TextLines,
    audit_to_file,
    escape,
    hide_paths,
    note,
)
from backend.network.connections import Connections
from backend.network.desk import Desk, Request
from backend.network.ray_token import check_cluster_asks, use_ray_token
from backend.previews import prepare_prompt
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from backend.store.uploads import Uploads
from backend.submission import check_submit
from restage4d.cli.computer import doctor
from restage4d.cli.console import printable
from restage4d.driving.prompt_refinement import RefinedPromptDriving
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import WireError
from restage4d.protocol.framing import Received
from restage4d.protocol.messages import (
    JobStatus,
    Limits,
    Prepare,
    Status,
    Stored,
    Submit,
    UploadBegin,
    UploadChunk,
    UploadReady,
)

from .test_limits import HeldBack

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"


@pytest.mark.parametrize("id", ["a" * 32 + "\n", "a" * 31, "A" * 32, "a" * 33, "\n" + "a" * 32])
def test_an_id_is_32_digits_and_nothing_else(id):
    assert msgspec.convert({"kind": "Status", "job": "a" * 32}, Status).job == "a" * 32
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "Status", "job": id}, Status)


def test_no_word_of_a_client_begins_a_line_or_moves_the_cursor():
    record = logging.LogRecord("x", 20, "", 0, "hello from %s", ("a\nERROR b\x1b[2J\r",), None)
    line = _TextLines("%(levelname)s %(message)s").format(record)
    assert line == r"INFO hello from a\x0aERROR b\x1b[2J\x0d"
    assert escape("naïve 字 \u2028") == "naïve 字 \\x2028"
    assert printable("naïve 字\x1b[31m\n\x9b") == "naïve 字?[31m??"


def test_what_a_stranger_can_cause_is_logged_once_a_second(caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("backend.logs.time.monotonic", lambda: now[0])
    log = RareLog(logging.getLogger("restage4d.test"))
    for _ in range(1000):
        log.warn("refused %s", "x")
    assert len(caplog.records) == 1
    now[0] += 1.1
    log.flush()
    assert caplog.messages == ["refused x", "and 999 more like the last one"]


def test_nobody_pushes_others_out_of_the_audit_log(tmp_path, monkeypatch):
    """By doing the same thing again and again."""
    now = [100.0]
    monkeypatch.setattr("backend.logs.time.monotonic", lambda: now[0])
    monkeypatch.setattr("backend.logs._allowance", _Allowance())
    log = logging.getLogger("restage4d.audit")
    monkeypatch.setattr(log, "handlers", [])
    audit_to_file(tmp_path)
    note("ben", "delete", "b" * 32)
    for _ in range(5000):
        note("anna", "resume", "a" * 32)
    note("ben", "shutdown")
    now[0] += 10.0
    for _ in range(100):
        note("anna", "pause", "a" * 32)
    [handler.close() for handler in log.handlers]
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [e["action"] for e in lines if e["user"] == "ben"] == ["delete", "shutdown"]
    assert [e["action"] for e in lines].count("resume") == 1000
    later = [e for e in lines if e["action"] == "pause"]
    assert len(later) == 20  # two a second
    assert [e.get("left_out_before", 0) for e in later] == [4000] + 19 * [0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/anna/.local/share/x/base.mp4 is no video", "…/base.mp4 is no video"),
        (r"C:\Users\Anna B\data\a.mp4 is none", "…/a.mp4 is none"),
        ("Get it from https://example.org/a/b.html.", "Get it from https://example.org/a/b.html."),
        ("1/2 of it, and/or 3/4", "1/2 of it, and/or 3/4"),
        (f"{Path.home()}/a/b", "…/b"),
    ],
)
def test_paths_are_hidden(text, shown):
    assert hide_paths(text) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("motion.n_bases", -1),
        ("fusion.rgb", float("nan")),
        ("fusion.max_subject", 1e9),
        ("fusion.max_subject", 1_000_000_000),
        ("fusion.lr_means", float("inf")),
        ("seed", -5),
    ],
)
def test_settings_out_of_range_are_a_sentence(name, value):
    job = Submit(base="0" * 64, settings={name: value})
    with pytest.raises(WireError) as caught:
        check_submit(job, {"driving": ["kinematic"]})
    assert caught.value.code == "bad_input"
    assert name in caught.value.what
    assert "default is" in caught.value.remedy
    check_submit(Submit(base="0" * 64, settings={"motion.n_bases": 4}), {"driving": ["kinematic"]})


@pytest.mark.parametrize(
    "line",
    [
        *(
            "keep_days = -1",
            "keep_days = nan",
            "job_hours = -1",
            "user_gigabytes = inf",
            "job_gpu_gigabytes = -1",
        ),
        *("log = 'xml'", "memory_gigabytes = 0", "[limits]\npixels = 99999999999999"),
    ],
)
def test_settings_of_the_service_have_ranges(tmp_path, line):
    (tmp_path / "service.toml").write_text(line)
    with pytest.raises(InputError, match=r"service\.toml"):
        ServiceSettings.load(tmp_path / "service.toml")


@pytest.mark.skipif(os.name == "nt", reason="a user's profile is private by itself there")
def test_the_doctor_says_who_can_read_the_service(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path))
    tmp_path.chmod(0o755)
    assert f"chmod 700 {tmp_path}" in doctor.report()
    tmp_path.chmod(0o700)
    assert f"{tmp_path} (its user's alone)" in doctor.report()


@pytest.fixture
def no_ray_token(tmp_path, monkeypatch):
    """A machine on which nobody set up a token."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.mark.parametrize("where", ["file", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_ray_cluster_is_asked_with_its_token(no_ray_token, tmp_path, caplog, where):
    if where == "file":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("secret")
    else:
        os.environ[where] = "secret"
    use_ray_token()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert "asks for no token" not in caplog.text


def test_without_a_token_ray_is_refused_unless_that_is_meant(no_ray_token, caplog):
    with pytest.raises(InputError, match="no token for a Ray cluster") as caught:
        use_ray_token()
    assert "RAY_AUTH_MODE=disabled" in caught.value.remedy
    assert "RAY_AUTH_MODE" not in os.environ
    os.environ["RAY_AUTH_MODE"] = "disabled"
    use_ray_token()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "asks for no token" in caplog.text


_RAY = """
import os, sys
class AuthenticationError(Exception): pass
class GcsClient:
    def __init__(self, address):
        assert address == "head:6379" and os.environ["RAY_AUTH_MODE"] == "disabled"
        assert not any(n.startswith("RAY_AUTH_TOKEN") for n in os.environ)
    def internal_kv_keys(self, *_, timeout):
        if {asks}: raise AuthenticationError
"""


@pytest.mark.parametrize("asks", ["True", "False", "1 / 0"])
def test_a_ray_cluster_that_lets_strangers_in_is_refused(no_ray_token, tmp_path, caplog, asks):
    """A stand-in for Ray; the real one is in test_farm.py."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "_raylet.py").write_text(_RAY.format(asks=asks))
    (tmp_path / "ray" / "exceptions.py").write_text("from ray._raylet import AuthenticationError\n")
    os.environ |= {"PYTHONPATH": str(tmp_path), "RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "token"}
    if asks == "False":
        with pytest.raises(InputError, match="head:6379 asks for no token"):
            check_cluster_asks("head:6379")
    else:
        check_cluster_asks("head:6379")
    assert ("is not known" in caplog.text) is (asks == "1 / 0")
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_a_taken_port_is_told(tmp_path):
    environment = dict(os.environ, RESTAGE4D_HOME=str(tmp_path))
    command = [sys.executable, "-m", "backend", "--port"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(min(taken.getsockname()[1], 65532))
        done = subprocess.run(
            [*command, port], env=environment, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert "is taken" in done.stderr
    done = subprocess.run(
        [*command, "65534"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "no port 65534" in done.stderr


def test_the_page_lists_the_defaults_of_a_status():
    """`JobStatus` leaves fields out that have their defaults, so other clients must know them."""
    text = PAGE.read_text(encoding="utf-8").split("`JobStatus`:")[1].split("\n\n")[1]
    listed = {}
    for row in text.splitlines()[2:]:
        names, _, default = (cell.strip() for cell in row.strip("|").split("|")[:3])
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = default
    expected = {
        f.name: "required" if f.required else f.default if f.default_factory is msgspec.NODEFAULT
        else f.default_factory()
        for f in msgspec.structs.fields(JobStatus)
    }  # fmt: skip
    shown = {"": '""', None: "nil", False: "false"}
    for name, value in expected.items():
        known = shown.get(value, str(value)) if not isinstance(value, dict) else "{}"
        if isinstance(value, int | float) and not isinstance(value, bool):
            known = f"{value:g}"
        assert listed.get(name) == (f'"{value}"' if value in ("restage", "normal") else known), name
    assert listed.keys() == expected.keys()


class FakeSocket:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.frames = []

    def send(self, frame, flags=0, **options):
        self.frames.append(bytes(frame))


def test_an_answer_that_is_too_long_is_told_instead_of_sent():
    connections = Connections(1e9)
    desk, socket = Desk(connections, None), FakeSocket()  # type: ignore[arg-type]
    asked = Request(b"client", "anna", 3, Received("a" * 32, None, None, []))
    many = {f"loss {i}": 1.0 for i in range(30_000)}
    long = JobStatus(id="b" * 32, name="n", prompt="p", state="running", losses=many)
    desk.reply(socket, asked, 0, long, [])  # type: ignore[arg-type]
    assert len(socket.frames[2]) < 1000
    assert b"too long" in socket.frames[2]
    socket.frames.clear()
    desk.reply(socket, asked, 0, msgspec.structs.replace(long, losses={}), [])  # type: ignore[arg-type]
    assert b"too long" not in socket.frames[2]


@pytest.mark.parametrize(("frames", "good"), [(6, False), (2, True), (None, False)])
def test_a_prompt_is_prepared_for_a_range_of_frames(tmp_path, monkeypatch, frames, good):
    class Driver(RefinedPromptDriving):
        def __init__(self) -> None: ...

        def refine_prompt(self, base, prompt, progress):
            return f"{prompt} {len(base.frames)}"

        def terms(self):
            return []

    monkeypatch.setattr("backend.previews.make_driving_provider", lambda *a, **k: Driver())
    store = Store(tmp_path / "home" / "store")
    pictures = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    video.encode(tmp_path / "a.mp4", pictures, 12.0)
    content = store.add(tmp_path / "a.mp4")[0]
    (tmp_path / "home" / "service.toml").write_text("[limits]\nframes = 5\n")
    ask = Prepare(content=content, prompt="go", driving="paid", first=3, frames=frames)
    if good:
        assert prepare_prompt(store, ask).prompt == "go 2"
    else:
        with pytest.raises(InputError, match="frames of the base video"):
            prepare_prompt(store, ask)


def test_two_programs_of_one_user_bring_one_file_together(tmp_path):
    data = bytes(range(256)) * 4
    content = hashlib.sha256(data).hexdigest()
    store, pool, answers = Store(tmp_path / "store"), HeldBack(), {"a": [], "b": []}
    uploads = Uploads(store, pool, Limits())

    def begin(name: str) -> UploadReady:
        uploads.begin(
            "anna", UploadBegin(content=content, size=1024), answers[name].append, name.encode()
        )
        pool.go()
        return answers[name].pop()

    def send(name: str, token: str, start: int, stop: int):
        chunk = UploadChunk(token=token, offset=start)
        uploads.add_chunk("anna", chunk, memoryview(data)[start:stop], answers[name].append)
        pool.go()
        return answers[name].pop()

    a = begin("a")
    assert send("a", a.token, 0, 400).offset == 400
    b = begin("b")
    assert (b.offset, b.token != a.token) == (400, True)
    assert send("b", b.token, 400, 700).offset == 700
    assert send("a", a.token, 400, 600).offset == 700  # it is here already
    assert send("a", a.token, 600, 900).offset == 900  # a part of it is new
    assert isinstance(send("b", b.token, 700, 1024), Stored)
    with pytest.raises(WireError) as caught:
        send("a", a.token, 900, 1024)
    assert caught.value.code == "refused"
    assert isinstance(begin("a"), Stored)
    assert store.path(content).read_bytes() == data
    # the same connection begins anew: its older token is spent, as before
    store.remove(content)
    first, second = begin("a"), begin("a")
    with pytest.raises(WireError):
        send("a", first.token, 0, 10)
    assert send("a", second.token, 0, 10).offset == 10


def test_two_clients_upload_one_file_at_the_same_time(own, tmp_path):
    own.start()
    (tmp_path / "a").write_bytes(os.urandom(30 << 20))
    failures = []

    def upload() -> None:
        try:
            with own.client() as client:
                client.upload(tmp_path / "a")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=upload) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert not failures
    assert not any(thread.is_alive() for thread in threads)
    spent = (own.home / "service.log").read_text().count("spent upload token")
    assert spent <= 2 * 8  # each client at most its credit, once
    connection = Connection.read(own.file)
    assert connection.pid
