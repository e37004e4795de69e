"""The sandbox: a process of its own for whatever decodes videos or draws, so that torch, decoders
and a failing GPU stay out of the service.

The service's side is `Sandbox`, the other is `backend.sandbox_process`. They talk over the
process's standard input and output: a count of frames, each frame's length, the frames of a message
as on the wire.
"""

import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

import zmq
from numpy.typing import NDArray

from backend.store.content_store import Store
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    Error,
    FetchGaussians,
    Look,
    Message,
    Prepare,
    Render,
)

_IDLE_S = 300.0


class Sandbox:
    """Starts the process when it is needed and ends it when it is not. One request at a
    time, from any thread.

    Args:
        store: where the puppets are.
        environment: of the process.
        patience_s: how long one request may take before the process is ended.
    """

    def __init__(
        self, store: Store, environment: Mapping[str, str], patience_s: float = 120.0
    ) -> None:
        self.store, self._environment, self._patience_s = store, environment, patience_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._used = 0.0

    def ask(
        self, request: Render | FetchGaussians | Look | Prepare, arrays: Sequence[NDArray] = ()
    ) -> tuple[Message, list[NDArray]]:
        """The answer; the content was checked. Raises `WireError`: the puppet is none, or the
        process died of it."""
        with self._lock:
            process = self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            watch = threading.Timer(self._patience_s, process.kill)
            watch.start()
            try:
                write_frames(process.stdin, framing.encode(request, arrays))
                reply = framing.decode(
                    [zmq.Frame(f) for f in read_frames(process.stdout)], framing.REPLIES
                )
            except (OSError, EOFError, ValueError) as error:
                self._end()
                raise WireError(
                    "Drawing failed: its process ended.",
                    "Try a smaller picture; see service.log.",
                    "crashed",
                ) from error
            finally:
                watch.cancel()
                self._used = time.monotonic()
        if isinstance(reply.body, Error):
            raise WireError(reply.body.what, reply.body.remedy, reply.body.code)
        return reply.body, reply.arrays

    def end_idle(self) -> None:
        """Ends the process after some minutes without work."""
        if (
            self._process is not None
            and time.monotonic() - self._used > _IDLE_S
            and self._lock.acquire(blocking=False)
        ):
            self._end()
            self._lock.release()

    def close(self) -> None:
        if self._process is not None:
            self._end()

    def _start(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0  # pyright: ignore
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backend.sandbox_process", str(self.store.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                creationflags=flags,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # held by a driver, say: it goes by itself
                self._process.wait(10.0)
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    if pipe:
                        pipe.close()
            self._process = None


def write_frames(pipe: IO[bytes], frames: list[Any]) -> None:
    """Frames into a pipe. Raises OSError where nobody reads it any more."""
    pipe.write(struct.pack("<I", len(frames)))
    for frame in frames:
        pipe.write(struct.pack("<Q", len(frame)))
        pipe.write(frame)
    pipe.flush()


def read_frames(pipe: IO[bytes]) -> list[bytes]:
    """Frames from a pipe. Raises EOFError at its end."""

    def read_exactly(n: int) -> bytes:
        data = pipe.read(n)
        if len(data) != n:
            raise EOFError
        return data

    return [
        read_exactly(struct.unpack("<Q", read_exactly(8))[0])
        for _ in range(struct.unpack("<I", read_exactly(4))[0])
    ]
