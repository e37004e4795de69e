"""What ``deploy/`` hands to systemd and to a container engine is what the service understands."""

import argparse
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from backend.__main__ import add_arguments, raise_descriptor_limit

ROOT = Path(__file__).resolve().parents[2]
UNIT, CONTAINER = ROOT / "deploy" / "restage4d.service", ROOT / "deploy" / "Containerfile"


def parse_serve(command: list[str]) -> argparse.Namespace:
    """What ``restage4d serve`` makes of a command line."""
    at = command.index("serve")
    assert Path(command[at - 1]).name == "restage4d"
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(command[at + 1 :])


def read_container() -> dict[str, list[str]]:
    """The instructions of the container file with their arguments, lines joined."""
    text = re.sub(r"\\\n\s*", "", CONTAINER.read_text())
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] != "#":
            name, rest = line.split(" ", 1)
            found.setdefault(name, []).append(rest)
    return found


def test_the_unit_starts_the_service_shut_and_again():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    options = parse_serve(shlex.split(service["ExecStart"]))
    assert (options.bind, options.port, options.executor) == ("0.0.0.0", 7710, "local")
    assert service["Environment"] == f"RESTAGE4D_HOME=/var/lib/{service['StateDirectory']}"
    assert (service["StateDirectoryMode"], service["UMask"]) == ("0700", "0077")
    assert service["User"] not in ("", "root")
    # exit code 1 is a setting that stays wrong, 3 is repaired by the next start
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "1"
    assert service["KillMode"] == "process"  # jobs go on
    assert int(service["TimeoutStopSec"]) >= 60
    assert int(service["LimitNOFILE"]) >= 65536


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    path = tmp_path / "restage4d.service"
    program = re.search(r"ExecStart=(\S+)", UNIT.read_text())
    assert program
    text = UNIT.read_text().replace(program[1], sys.executable)

    def verify(text: str) -> str:
        path.write_text(text)
        command = ["systemd-analyze", "verify", "--man=no", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return "".join(line for line in done.stderr.splitlines(True) if "restage4d" in line)

    assert verify(text) == ""
    assert "Retsart" in verify(text.replace("Restart=", "Retsart="))


def test_the_container_holds_what_it_starts():
    found = read_container()
    (entry,) = found["ENTRYPOINT"]
    options = parse_serve(json.loads(entry))
    assert options.bind == "0.0.0.0"
    assert found["EXPOSE"] == [f"{options.port}-{options.port + 3}"]
    assert found["USER"] == ["restage4d"]
    assert found["VOLUME"] == ["/data"]
    assert found["ENV"] == ["RESTAGE4D_HOME=/data"]
    for copy in found["COPY"]:
        assert all((ROOT / name).exists() for name in copy.split()[:-1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (wanted,) = re.findall(r"/src\[([\w,]+)\]", " ".join(found["RUN"]))
    assert set(wanted.split(",")) <= extras.keys()


def test_the_container_s_health_is_that_of_its_service(address, tmp_path):
    (check,) = read_container()["HEALTHCHECK"]
    command = [sys.executable, *json.loads(check.removeprefix("CMD "))[1:]]
    for home, good in ((Path(address).parent, True), (tmp_path, False)):
        environment = dict(os.environ, RESTAGE4D_HOME=str(home))
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
        assert (done.returncode == 0) is good


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_small_limit_of_descriptors_is_raised():
    """Many shells start programs with 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
