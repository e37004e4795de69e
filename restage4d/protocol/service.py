"""Starting and stopping the service from a client's side, Blender's included."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from restage4d.protocol.client import Client
from restage4d.protocol.connection import home
from restage4d.protocol.errors import NotRunning, WireError, WrongService


def start_service(
    python: Path | str = sys.executable,
    *,
    parent_pid: int | None = None,
    arguments: tuple[str, ...] = (),
    timeout_s: float = 30.0,
) -> Client:
    """Starts the service, or finds the one that runs, and returns a connected client.

    Args:
        python: of an environment with ``restage4d[backend]``.
        parent_pid: the service ends when this process does; None: it goes on by itself.
        arguments: more arguments of ``restage4d serve``.
        timeout_s: until it must answer.

    Raises:
        NotRunning: it could not be started; says what it said.
        WireError: it runs but does not let this client in.
    """
    try:
        return Client.connect(timeout_s=2.0)
    except (NotRunning, WrongService):  # or another program has the port of one that was killed
        pass
    log = home() / "service.out"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "backend", *arguments]
    if parent_pid is not None:
        command += ["--parent-pid", str(parent_pid)]
    # Blender's own Python settings would send another Python astray.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
    try:
        process = spawn_detached(command, log, environment)
    except OSError as error:
        raise NotRunning(
            f"{python} cannot be started: {error.strerror}.", "Set the Python of the backend."
        ) from error
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return Client.connect(timeout_s=2.0)
        except WireError as error:
            if process.poll() not in (None, 0):
                words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                said = f" It said: {words[0][:300]}" if words else ""
                raise NotRunning(f"The service ended at once.{said}", f"See {log}.") from error
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def spawn_detached(
    command: list[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen:
    """A process in a session of its own, so that it outlives this one; what it says is appended to
    ``log``. Raises OSError."""
    windows = sys.platform == "win32"
    flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW if windows else 0  # pyright: ignore
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=not windows,
            creationflags=flags,
        )


def stop_service(connection: Path | None = None, *, timeout_s: float = 15.0) -> bool:
    """Ends the service and waits until it is gone. False where there was none."""
    try:
        with Client.connect(connection, timeout_s=2.0) as client:
            client.shutdown()
            deadline = time.monotonic() + timeout_s
            while client.alive(0.3) and time.monotonic() < deadline:
                time.sleep(0.1)
    except (NotRunning, WrongService):
        return False
    return True
