"""A bug report holds no key, no password and no prompt, whatever form they have."""

import json
import zipfile
from pathlib import Path

import pytest
import zmq

from blender_addon.session import bug_report

Z85 = zmq.curve_keypair()[1].decode()
SECRETS = [
    ("Authorization: Bearer abc123.DEF-456~xyz", "abc123"),
    ("sent with bearer 0123456789abcdef", "0123456789abcdef"),
    ("key sk-proj-AbCdEf0123456789 refused", "AbCdEf"),
    ("hf_AbCdEfGhIjKlMnOp", "AbCdEf"),
    ("r8_AbCdEfGhIjKlMnOp", "AbCdEf"),
    ("ghp_0123456789abcdef0123456789abcdef0123", "0123456789"),
    ("github_pat_11AAAAAAA0aaaaaaaaaaaa_bbbb", "11AAAAAAA0"),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    ("AIzaSyA-0123456789abcdefghijklmno", "0123456789"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.s1gnature", "s1gnature"),
    ("GET https://anna:hunter22@example.com/x", "hunter22"),
    ('"password": "correct horse"', "correct"),
    ("RUNWAYML_API_SECRET=deadbeef01", "deadbeef01"),
    (f"public {Z85} refused", Z85),
    ('job 7 prompt="the dog jumps, then sits"', "jumps"),
    ("prompt: the dog jumps", "dog jumps"),
    ("{'prompt': 'the dog\\'s jump'}", "jump"),
]


@pytest.mark.parametrize(("line", "secret"), SECRETS, ids=range(len(SECRETS)))
def test_secrets_are_left_out(line: str, secret: str) -> None:
    hidden = bug_report.hide_secrets(f"12:00 INFO {line} (3 frames)\nnext line")
    assert secret not in hidden
    assert "(left out)" in hidden
    assert hidden.endswith("next line")


def test_what_helps_stays() -> None:
    log = (
        "2026-11-27 19:28:59,477 INFO restage4d.service: listening on 127.0.0.1, ports 46289\n"
        '  File "/opt/restage4d/pipeline.py", line 124, in restage\n'
        "AttributeError: 'Fusion' object has no attribute 'size'\n"
        "job 61f482e40b29475184a185547c22def0 failed at step 20 of 1200\n"
    )
    assert bug_report.hide_secrets(log) == log


def test_settings_and_facts_hold_neither(tmp_path: Path) -> None:
    path = tmp_path / "report.zip"
    bug_report.write(
        path,
        {"blender": "5.2.2", "prompt": "the dog jumps"},
        {"runway_api_key": "k" * 20, "text": "words", "nested": {"auth": "x"}, "side": 384},
        [],
    )
    with zipfile.ZipFile(path) as archive:
        facts = json.loads(archive.read("versions.json"))
        settings = json.loads(archive.read("settings.json"))
    assert (facts["blender"], facts["prompt"]) == ("5.2.2", "(set)")
    assert settings == {
        "runway_api_key": "(set)",
        "text": "(set)",
        "nested": {"auth": "(set)"},
        "side": 384,
    }


def test_a_bug_report_holds_no_keys(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_text(
        "x" * 300_000
        + f"\nGOOGLE_API_KEY=AIzaSyA1234567890abcdefghijklmnop opened {Path.home()}/film.mp4\n"
    )
    settings = {"secret_key": "hidden", "connection": "OWN", "nested": {"api_token": "hidden"}}
    names = bug_report.write(
        tmp_path / "report.zip", {"blender": "5.2"}, settings, [log, tmp_path / "none.log"]
    )
    assert names == ["versions.json", "settings.json", "logs/service.log"]
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        everything = b"".join(archive.read(name) for name in names).decode()
        assert len(archive.read("logs/service.log")) < 250_000
    assert "hidden" not in everything
    assert "AIzaSy" not in everything
    assert str(Path.home()) not in everything or str(Path.home()) == "/"
    assert "5.2" in everything
