"""Renders, posed Gaussians, looks at videos and prompts, made in a process of its own: torch,
decoders, a failing GPU stay out.

The service's side is `Drawer`; ``python -m backend.sandbox`` is the other. They talk over the
process's standard input and output: a count of frames, each frame's length, the frames of a message
as on the wire.
"""

import os
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from backend.looking import looked
from backend.preparing import prepared
from backend.store.content_store import Store
from restage4d.errors import InputError
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    Error,
    FetchGaussians,
    GaussiansFrame,
    Look,
    Message,
    Prepare,
    Render,
    Rendered,
)

_IDLE_S = 300.0
_KEPT = 4  # puppets in memory


class Drawer:
    """Starts the drawing process when it is needed and ends it when it is not. One request at a
    time, from any thread.

    Args:
        store: where the puppets are.
        patience_s: how long one request may take before the process is ended.
    """

    def __init__(self, store: Store, patience_s: float = 120.0) -> None:
        self.store, self._patience_s = store, patience_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._used = 0.0

    def ask(
        self, request: Render | FetchGaussians | Look | Prepare, arrays: list[NDArray]
    ) -> tuple[Message, list[NDArray]]:
        """The answer. Raises `WireError`: the puppet is not here, is none, or the process died of
        it."""
        self.store.check(request.content)
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            watch = threading.Timer(self._patience_s, process.kill)
            watch.start()
            try:
                _write(process.stdin, framing.encode(request, arrays))
                reply = framing.decode(
                    [zmq.Frame(f) for f in _read(process.stdout)], framing.REPLIES
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

    def rest(self) -> None:
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

    def _started(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0  # pyright: ignore
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backend.sandbox", str(self.store.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                creationflags=flags,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    if pipe:
                        pipe.close()
            self._process = None


def _write(pipe: IO[bytes], frames: list[Any]) -> None:
    pipe.write(struct.pack("<I", len(frames)))
    for frame in frames:
        pipe.write(struct.pack("<Q", len(frame)))
        pipe.write(frame)
    pipe.flush()


def _read(pipe: IO[bytes]) -> list[bytes]:
    """Frames from a pipe. Raises EOFError at its end."""

    def exactly(n: int) -> bytes:
        data = pipe.read(n)
        if len(data) != n:
            raise EOFError
        return data

    return [
        exactly(struct.unpack("<Q", exactly(8))[0])
        for _ in range(struct.unpack("<I", exactly(4))[0])
    ]


# --- the process ----------------------------------------------------------------------------------


class _Puppets:
    """The last few puppets, read and checked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def __getitem__(self, content: str) -> Any:
        from restage4d.puppet import Puppet

        if content not in self._kept:
            self._kept[content] = Puppet.load(self.store.path(content))
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(content)
        return self._kept[content]


def pose(puppets: _Puppets, request: FetchGaussians) -> tuple[Message, list[NDArray]]:
    """The subject at a frame of a performance."""
    puppet = puppets[request.content]
    try:
        performance = puppet.performance(request.performance)
        g = puppet.pose(performance, request.frame)
    except InputError as error:
        raise WireError(error.what, error.remedy, "not_found") from error
    arrays = [
        np.ascontiguousarray(a, np.float32) for a in (g.means, g.quats, g.scales, g.opacities, g.sh)
    ]
    return GaussiansFrame(frame=request.frame, frames=performance.n_frames), arrays


def draw(
    puppets: _Puppets, request: Render, arrays: list[NDArray]
) -> tuple[Message, list[NDArray]]:
    """RGBA and depth of a puppet, as `restage4d.render.gaussians.render_gaussians` gives them."""
    from restage4d.puppet import Camera
    from restage4d.render.gaussians import render_gaussians

    puppet = puppets[request.content]
    bases, w2c, K = arrays
    framing.expect(bases, (puppet.n_bases, 9), np.float32, "bases")
    sets = [puppet.pose(bases)]
    if request.background and len(puppet.background):
        sets.append(puppet.background)
    rgba, depth = render_gaussians(sets, Camera(K, w2c, (request.width, request.height)))
    return Rendered(), [
        np.ascontiguousarray(rgba, np.float32),
        np.ascontiguousarray(depth, np.float32),
    ]


def main() -> None:
    puppets = _Puppets(Store(Path(sys.argv[1])))
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(
        sys.stderr.fileno(), sys.stdout.fileno()
    )  # whatever a library prints must not get between the frames
    while True:
        try:
            frames = _read(asked)
        except EOFError:
            return  # the service has ended
        message = framing.decode([zmq.Frame(f) for f in frames], framing.REQUESTS)
        try:
            if isinstance(message.body, Render):
                answer = draw(puppets, message.body, message.arrays)
            elif isinstance(message.body, Look):
                answer = looked(puppets.store, message.body)
            elif isinstance(message.body, Prepare):
                answer = prepared(puppets.store, message.body)
            else:
                answer = pose(puppets, message.body)
        except WireError as error:
            answer = Error(code=error.code, what=error.what, remedy=error.remedy), []  # type: ignore[arg-type]
        except InputError as error:
            answer = Error(code="bad_input", what=error.what, remedy=error.remedy), []
        except (MemoryError, RuntimeError, ValueError, msgspec.MsgspecError) as error:
            answer = (
                Error(
                    code="internal",
                    what=f"Drawing failed: {error}"[:500],
                    remedy="Try a smaller picture.",
                ),
                [],
            )
        _write(answers, framing.encode(*answer))


if __name__ == "__main__":
    main()
