"""A job's folder: all that its process and the service tell each other lies here as files that
appear by a rename.

So either side may die at any moment and the other goes on: there is no connection to lose.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
import zmq

from backend.file_lock import FileLock, is_locked
from restage4d.errors import InputError
from restage4d.io.atomic import replacing
from restage4d.protocol import framing
from restage4d.protocol.messages import Artefact, Fault, Submit

EVENTS = ("progress", "preview", "points")  # names of event files


class Result(msgspec.Struct, kw_only=True):
    """The last word of a job's process."""

    outcome: Literal["done", "failed", "paused", "cancelled"]
    error: Fault | None = None
    artefacts: dict[str, Artefact] = msgspec.field(default_factory=dict)


class Folder:
    """Files of one job.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / "work"  # results and the checkpoint while the job runs
        self.log = path / "log.txt"

    # --- the service's side ---

    def prepare(self, spec: Submit) -> None:
        """Makes the folder ready for a start: what was asked in it, no word from an earlier start.
        Raises InputError, OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("result", "command", "pid"):
            (self.path / name).unlink(missing_ok=True)
        self.write_file("spec", msgspec.msgpack.encode(spec))

    def write_command(self, what: Literal["pause", "cancel"]) -> None:
        self.write_file("command", what.encode())

    def read_result(self) -> Result | None:
        """The process's last word, None before it has spoken."""
        try:
            return msgspec.msgpack.decode((self.path / "result").read_bytes(), type=Result)
        except (OSError, msgspec.MsgspecError):
            return None

    def is_running(self) -> bool:
        """Whether a process works in this folder, this service's child or not."""
        return is_locked(self.path / "lock")

    def read_pid(self) -> int | None:
        """Id of the process that works here; None where none does. Its lock, not its age by the
        date, tells it from a later process of the same number."""
        try:
            pid = int((self.path / "pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if self.is_running() else None

    def read_event(self, name: str) -> tuple[int, list[bytes]] | None:
        """The newest event of a kind as frames, with a number that grows with every new one."""
        path = self.path / name
        try:
            stamp = path.stat().st_mtime_ns
            return stamp, msgspec.msgpack.decode(path.read_bytes(), type=list[bytes])
        except (OSError, msgspec.MsgspecError):
            return None

    def read_stamp(self, name: str) -> int:
        """Changes with every new event of a kind."""
        try:
            return (self.path / name).stat().st_mtime_ns
        except OSError:
            return 0

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_work(self) -> None:
        """After the end: keeps the log, the last pictures and the checkpoint of a job that may be
        resumed."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.path / "inputs", ignore_errors=True)

    # --- the process's side ---

    def enter(self) -> FileLock | None:
        """Takes the folder for this process; None where another has it."""
        lock = FileLock(self.path / "lock")
        for _ in range(20):
            # a service that just looks whether anybody is here holds it for a moment
            if lock.acquire():
                break
            time.sleep(0.05)
        else:
            return None

        self.write_file("pid", str(os.getpid()).encode())
        return lock

    def read_spec(self) -> Submit:
        return msgspec.msgpack.decode((self.path / "spec").read_bytes(), type=Submit)

    def read_command(self) -> str:
        """What the service asks of this process: "", "pause" or "cancel"."""
        try:
            return (self.path / "command").read_text()
        except OSError:
            return ""

    def write_event(self, name: str, body: Any, arrays: Any = ()) -> None:
        """Leaves an event for the service; on a full disk it is left out."""
        frames = [bytes(f) for f in framing.encode(body, arrays)]
        with suppress(InputError, OSError):
            self.write_file(name, msgspec.msgpack.encode(frames))

    def write_result(self, result: Result) -> None:
        """The last word. Waits for room on a full disk for a while. Raises InputError."""
        for attempt in range(20):
            try:
                return self.write_file("result", msgspec.msgpack.encode(result))
            except InputError:
                if attempt == 19:
                    raise
                time.sleep(0.5)

    def write_file(self, name: str, data: bytes) -> None:
        """Writes a file of the folder, whole or not at all. Raises InputError, OSError."""
        with replacing(self.path / name) as temporary:
            temporary.write_bytes(data)


def to_zmq_frames(event: tuple[int, list[bytes]]) -> list[zmq.Frame]:
    """The frames of an event as `framing.decode` takes them."""
    return [zmq.Frame(f) for f in event[1]]
