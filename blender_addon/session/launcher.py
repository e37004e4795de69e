# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting the backend from the panel: what a double click on scripts/start_backend does. Needs no
Blender."""

import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restage4d.errors import InputError

BOOTSTRAP = Path("scripts") / "bootstrap.py"
_STAMP = "unpacked-version"


def can_start(root: Path | None) -> bool:
    return root is not None and (root / BOOTSTRAP).is_file()


def is_set_up(root: Path) -> bool:
    """Whether the environment was made once; what changed since is brought up to date at the
    start."""
    return (root / ".venv").is_dir()


def unpack(source: Path, root: Path, version: str) -> None:
    """Puts the backend's source that came with the extension into ``root``; an older one is
    replaced, its environment kept.

    Raises:
        InputError: there is none, or ``root`` cannot be written to.
    """
    stamp = root / _STAMP
    if stamp.is_file() and stamp.read_text() == version:
        return
    if not source.is_file():
        raise InputError(
            "This extension came without the backend.",
            "Choose the Restage4D folder in the preferences.",
        )
    try:
        for part in ("restage4d", "backend", "scripts"):
            shutil.rmtree(root / part, ignore_errors=True)
        with zipfile.ZipFile(source) as archive:
            archive.extractall(root)
        stamp.write_text(version)
    except OSError as error:
        raise InputError(
            f"{root} cannot be written: {error.strerror}.",
            "Free some space, or choose another folder.",
        ) from error


def start(
    root: Path,
    log: Path,
    options: list[str],
    home: Path | None,
    answers: Callable[[], bool],
    seconds: float,
    stopped: threading.Event,
    say: Callable[[str, bool], None],
) -> None:
    """Starts `bootstrap.py serve` in ``root`` and waits until the backend answers.

    Args:
        root: a checkout, or what `unpack` made.
        log: where the output goes.
        options: of `restage4d serve`.
        home: the backend's data folder; None: its usual one.
        answers: whether the backend answers; asked several times a second.
        seconds: that it has for it, set-up not counted.
        stopped: ends the waiting.
        say: called with the newest line and whether it is still setting up.

    Raises:
        InputError: it ended or did not answer in time; says what its log says.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = make_environment()
    if home is not None:
        environment["RESTAGE4D_HOME"] = str(home)
    away: dict[str, Any] = (
        {"creationflags": 0x00000008 | 0x00000200}
        if sys.platform == "win32"
        else {"start_new_session": True}
    )
    with log.open(
        "wb"
    ) as output:  # DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP, or a session of its own
        process = subprocess.Popen(
            [str(find_python(root)), str(root / BOOTSTRAP), "serve", *options],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **away,
        )
    began = time.monotonic()
    while not stopped.wait(0.2):
        if answers():
            return
        lines = last_lines(log)
        setting_up = any("installing" in line for line in lines) and "ready after" not in lines[-1]
        say(lines[-1] if lines else "", setting_up)
        if process.poll() is not None and not answers():
            text = " ".join(lines[-1:]) or f"exit code {process.returncode}"
            raise InputError(f"The backend did not start: {text}", f"The whole story is in {log}.")
        if setting_up:
            began = time.monotonic()
        elif time.monotonic() - began > seconds:
            raise InputError(
                f"The backend did not answer within {seconds:.0f} s.",
                f"See {log}, or give it longer in the preferences.",
            )


def make_environment() -> dict[str, str]:
    """The variables that the environment's Python runs with, without those of Blender's own."""
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    environment["PYTHONUNBUFFERED"] = "1"
    for name in ("HOME", "CACHE", "SETTINGS", "WEIGHTS"):  # it starts in another folder
        if given := environment.get(f"RESTAGE4D_{name}"):
            environment[f"RESTAGE4D_{name}"] = os.path.abspath(given)
    return environment


def last_lines(log: Path, count: int = 40) -> list[str]:
    """The last lines of a log that are not empty."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()][-count:]


def get_own_python(root: Path) -> Path:
    """The Python of the environment in ``root``, which may not be there yet."""
    return root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_python(root: Path) -> Path:
    """The environment's own Python, else one on the path as the launchers find it, else the one
    that runs this."""
    for python in (
        get_own_python(root),
        *map(shutil.which, ("python3.11", "python3", "python3.12", "python3.13", "python")),
    ):
        if python and Path(python).exists() and _new_enough(python):
            return Path(python)
    return Path(sys.executable)


def _new_enough(python: str | Path) -> bool:
    command = [
        str(python),
        "-c",
        "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))",
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    try:
        return (
            subprocess.run(
                command, capture_output=True, timeout=20, check=False, env=environment
            ).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
