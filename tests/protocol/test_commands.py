"""Jobs from a terminal, and what the client is made of."""

import subprocess
import sys

import pytest
from tiny_job import ENDLESS, tiny_job

from restage4d.cli import main
from restage4d.protocol.client import Client
from restage4d.puppet import Puppet

from .test_jobs import until

_ALONE = """
import sys
HEAVY = {"torch", "scipy", "cv2", "av", "numba", "psutil", "safetensors", "PIL", "platformdirs"}
HEAVY |= {"bpy", "backend"}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        root = name.split(".")[0]
        if root in HEAVY:
            raise ImportError(f"{root} was imported")
sys.meta_path.insert(0, Nothing())
import restage4d.protocol.client, restage4d.cli.client, restage4d.protocol.service
"""


def test_the_client_needs_numpy_pyzmq_and_msgspec_alone():
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def restage4d(address, capsys):
    """Runs a command against the service under test: exit code, what it printed, what it complained
    of."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main.main([*arguments, "--connection", str(address)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_list_watch_and_fetch(restage4d, done_job, tmp_path):
    job = done_job[0]
    code, out, _ = restage4d("list")
    assert code == 0
    assert any(line.startswith(job[:12]) and "done" in line for line in out.splitlines())
    code, out, _ = restage4d("watch", job[:12])
    assert code == 0
    assert "done" in out
    code, out, _ = restage4d("fetch", job, "--out", str(tmp_path / "a.puppet"))
    assert code == 0
    assert out.strip() == str(tmp_path / "a.puppet")
    assert Puppet.load(tmp_path / "a.puppet").performances
    code, _, err = restage4d("fetch", job, "--what", "soundtrack.mp3", "--out", str(tmp_path / "b"))
    assert code == 1
    assert "There is: puppet" in err
    assert not (tmp_path / "b").exists()
    code, _, err = restage4d("watch", "zzz")
    assert code == 1
    assert "restage4d list" in err


def test_who_stops_watching_leaves_the_job_alone(restage4d, done_job, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "watch", stopped)
    with pytest.raises(SystemExit) as ended:
        restage4d("watch", done_job[0])
    assert ended.value.code == 130
    assert f"restage4d watch {done_job[0][:12]}" in capsys.readouterr().err


def test_submit_and_cancel(restage4d, client, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"this is no video")
    code, out, err = restage4d(
        "submit", str(tmp_path / "a.mp4"), "jump", "--watch", "--set", "fusion.steps=10"
    )
    assert code == 1
    assert "not a video" in err
    job = out.split()[0]
    assert client.status(job).name == "a"
    client.delete(job)
    code, _, err = restage4d("submit", str(tmp_path / "a.mp4"), "jump", "--select", "12")
    assert code == 1
    assert "2 numbers" in err
    code, _, err = restage4d("submit", str(tmp_path / "a.mp4"), "jump", "--set", "fusion.steps")
    assert code == 1
    assert "KEY=VALUE" in err
    job = client.submit(tiny_job(client.upload, ENDLESS))
    code, out, _ = restage4d("cancel", job)
    assert code == 0
    assert out.startswith(job[:12])
    until(lambda: client.status(job).state == "cancelled")
    client.delete(job)
