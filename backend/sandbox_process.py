"""The sandbox's own process, ``python -m backend.sandbox_process STORE_FOLDER``: renders, posed
Gaussians, first looks at videos, prompts. See `backend.sandbox`."""

import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from backend.previews import look_at_video, prepare_prompt
from backend.sandbox import read_frames, write_frames
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
from restage4d.puppet import Camera, Puppet

_KEPT = 4  # puppets in memory


class PuppetCache:
    """The last few puppets, read and checked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: OrderedDict[str, Puppet] = OrderedDict()

    def __getitem__(self, content: str) -> Puppet:
        if content not in self._kept:
            self._kept[content] = Puppet.load(self.store.path(content))
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(content)
        return self._kept[content]


def pose_puppet(puppets: PuppetCache, request: FetchGaussians) -> tuple[Message, list[NDArray]]:
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


def render_puppet(
    puppets: PuppetCache, request: Render, arrays: list[NDArray]
) -> tuple[Message, list[NDArray]]:
    """RGBA and depth of a puppet, as `render_gaussians` gives them."""
    from restage4d.splatting.gaussians import render_gaussians  # late: torch takes seconds

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


def answer(puppets: PuppetCache, body: Any, arrays: list[NDArray]) -> tuple[Message, list[NDArray]]:
    """The answer to one request, an `Error` where it failed."""
    try:
        match body:
            case Render():
                return render_puppet(puppets, body, arrays)
            case Look():
                return look_at_video(puppets.store, body)
            case Prepare():
                return prepare_prompt(puppets.store, body), []
            case FetchGaussians():
                return pose_puppet(puppets, body)
        raise AssertionError(body)
    except WireError as error:
        return Error(code=error.code, what=error.what, remedy=error.remedy), []  # type: ignore[arg-type]
    except InputError as error:
        return Error(code="bad_input", what=error.what, remedy=error.remedy), []
    except (MemoryError, RuntimeError, ValueError, msgspec.MsgspecError) as error:
        what = f"Drawing failed: {error}"[:500]
        return Error(code="internal", what=what, remedy="Try a smaller picture."), []


def main() -> None:
    puppets = PuppetCache(Store(Path(sys.argv[1])))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # whatever a library prints must not get between the frames
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while True:
        try:
            frames = read_frames(requests)
        except EOFError:
            return  # the service has ended
        request = framing.decode([zmq.Frame(f) for f in frames], framing.REQUESTS)
        write_frames(answers, framing.encode(*answer(puppets, request.body, request.arrays)))


if __name__ == "__main__":
    main()
