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
from restage4d import sh
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
from restage4d.puppet import Performance, Puppet

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
    except KeyError as error:
        raise WireError(str(error.args[0]), "Ask for one of those.", "not_found") from error
    if request.frame >= performance.n_frames:
        raise WireError(
            f"{request.performance!r} has {performance.n_frames} frames; there is no frame "
            f"{request.frame}.",
            "Ask for a smaller one.",
            "not_found",
        )
    g = puppet.posed(performance, request.frame)
    arrays = [
        np.ascontiguousarray(a, np.float32) for a in (g.means, g.quats, g.scales, g.opacities, g.sh)
    ]
    return GaussiansFrame(frame=request.frame, frames=performance.n_frames), arrays


def render_puppet(
    puppets: PuppetCache, request: Render, arrays: list[NDArray]
) -> tuple[Message, list[NDArray]]:
    """RGBA and depth of a puppet."""
    import torch  # late: it takes seconds, and a first look at a video does without

    from restage4d.render import drawing_device, rasterize

    puppet = puppets[request.content]
    bases, w2c, K = arrays
    framing.expect(bases, (puppet.n_bases, 9), np.float32, "bases")
    still = Performance(
        "",
        np.ascontiguousarray(bases[:, None]),
        1.0,
        K[None],
        w2c[None],
        (request.width, request.height),
    )
    sets = [puppet.posed(still, 0)]
    if request.background and len(puppet.background):
        sets.append(puppet.background)
    eye = -w2c[:3, :3].T @ w2c[:3, 3]
    colors = []
    for g in sets:
        towards = g.means - eye
        towards = towards / np.maximum(np.linalg.norm(towards, axis=-1, keepdims=True), 1e-9)
        rgb = np.clip(sh.colors(g.sh, towards), 0, 1)
        z = g.means @ w2c[2, :3] + w2c[2, 3]
        colors.append(np.concatenate([rgb, z[:, None]], 1))
    device = drawing_device()

    def tensor(arrays: list[NDArray]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(arrays), np.float32)).to(device)

    with torch.no_grad():
        image, alpha, _ = rasterize(
            tensor([g.means for g in sets]),
            tensor([g.quats for g in sets]),
            tensor([g.scales for g in sets]),
            tensor([g.opacities for g in sets]),
            tensor(colors),
            tensor([w2c]),
            tensor([K]),
            request.width,
            request.height,
        )
    picture, cover = image.cpu().numpy(), alpha.cpu().numpy()
    rgba = np.concatenate([picture[..., :3], cover[..., None]], -1)
    depth = np.where(cover > 1e-3, picture[..., 3] / np.maximum(cover, 1e-3), 0)
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
