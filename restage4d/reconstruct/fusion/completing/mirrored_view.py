"""What no frame shows, fitted to the mirrored picture of what is shown.

A mirror image made of single Gaussians has gaps where one was left out, blurred guesses between its
details, and a frayed outline. But how it should look is known: as the near side does, the other way
round. So the body is drawn from the near side before it is completed, that picture is turned round,
and those Gaussians that no frame shows are fitted to it through the mirrored camera. Beside it
frames are drawn and compared with how they looked before, so that they keep their looks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restage4d.puppet import SH_C0
from restage4d.reconstruct.fusion.completing.symmetry import Plane
from restage4d.reconstruct.model.scene_model import SceneModel, Splats
from restage4d.reconstruct.model.skinning import skin_splats
from restage4d.splatting import rasterize

F32 = NDArray[np.float32]

_LONGEST = 512  # pixels of the pictures' longer side at most
_FILLED = 0.8  # of the mirrored picture by the body
_FAR_OFF = 100.0  # extents, from where rays are all but parallel
STEPS = 120
_RATES = {"means": 0.02, "quats": 0.01, "log_scales": 0.02, "logit_opacities": 0.05, "sh0": 0.03}
# Adam's: pixels' worth of difference, so that what hardly shows hardly moves. Without it all take
# steps of one size, and the hidden ones come out as specks from elsewhere
_EPS = 0.2
_MOST = 1.0  # distances of neighbours, by which a Gaussian may move
_FRAME = 8.0  # weight of a frame's change beside that of the mirrored picture ...
_EVERY = 2  # ... and steps from one to the next
_INSIDE = 0.01, 0.99  # quantiles of the body that fill the picture


@dataclass(frozen=True)
class View:
    """A pinhole camera: K (3, 3) in pixels, w2c (4, 4), OpenCV axes, and size (width, height)."""

    K: F32
    w2c: F32
    size: tuple[int, int]


@dataclass(frozen=True)
class Picture:
    """The subject alone at a frame of the rewound clip through a camera: (H, W, 4) premultiplied
    colour and alpha."""

    frame: int
    view: View
    image: Tensor


def look_along(axis: F32, w2c: F32, points: F32, extent: float, size: tuple[int, int]) -> View:
    """A camera far off that looks along an axis at a body.

    Args:
        axis: (3,) unit vector in the frame of ``w2c``, square to its horizontal, which stays
            horizontal in the picture.
        w2c: (4, 4) of a frame.
        points: (N, 3) of the body in the world, which is ``extent`` large.
        size: (width, height) of the frames; the picture has their proportions.
    """
    right = np.array([1.0, 0.0, 0.0])
    turn = np.stack([right, np.cross(axis, right), axis]) @ w2c[:3, :3]
    low, high = np.quantile(points @ turn.T, _INSIDE, axis=0)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, -(low + high) / 2
    pose[2, 3] += _FAR_OFF * extent
    return fill_picture(pose.astype(np.float32), points, size)


def fill_picture(w2c: F32, points: F32, size: tuple[int, int]) -> View:
    """The camera at ``w2c`` (4, 4) with the ``points`` (N, 3) filling a picture of the proportions
    of ``size``."""
    wide = _fit_size(size)
    camera = points @ w2c[:3, :3].T + w2c[:3, 3]
    camera = camera[camera[:, 2] > 0]
    low, high = np.quantile(camera[:, :2] / camera[:, 2:], _INSIDE, axis=0)
    focal = _FILLED * float(np.min(wide / np.maximum(high - low, 1e-9)))
    middle = np.array(wide) / 2 - focal * (low + high) / 2
    K = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]], np.float32)
    return View(K, w2c, wide)


def mirror_view(view: View, plane: Plane) -> View:
    """The camera that sees a scene, reflected through ``plane``, as ``view`` sees the scene itself,
    but the picture is turned left for right.

    It stands where the reflection of ``view`` stands. A reflected camera would be left-handed;
    turning its x axis round makes it a camera again, and mirrors its picture.
    """
    reflection = np.eye(4)
    reflection[:3, :3] -= 2 * np.outer(plane.normal, plane.normal)
    reflection[:3, 3] = 2 * plane.offset * plane.normal
    w2c = np.diag([-1.0, 1, 1, 1]) @ view.w2c @ reflection
    K = view.K.copy()
    K[0, 2] = view.size[0] - K[0, 2]
    return View(K, w2c.astype(np.float32), view.size)


def draw_mirrored(model: SceneModel, t: int, view: View, plane: Plane, sh0: Tensor) -> Picture:
    """The model in colours ``sh0`` (N, 3) as ``view`` shows it at frame ``t``, turned left for
    right, for the camera on the other side of ``plane``."""
    with torch.no_grad():
        splats = model.pose_subject(t)
        splats.rgb = (0.5 + SH_C0 * sh0).clamp(0, 1)
        image = _draw(splats, view).flip(1).contiguous()
    return Picture(t, mirror_view(view, plane), image)


def draw_frames(
    model: SceneModel, frames: list[int], K: F32, w2c: F32, size: tuple[int, int]
) -> list[Picture]:
    """The model as it looks through the cameras K (T, 3, 3), w2c (T, 4, 4) of some frames."""
    small = _fit_size(size)
    scale = np.diag([small[0] / size[0], small[1] / size[1], 1]).astype(np.float32)
    views = [View(scale @ K[f], w2c[f], small) for f in frames]
    with torch.no_grad():
        return [
            Picture(f, view, _draw(model.pose_subject(f), view))
            for f, view in zip(frames, views, strict=True)
        ]


def fit_to_mirrored(
    model: SceneModel,
    rows: NDArray[np.intp],
    mirrored: Picture,
    frames: list[Picture],
    spacing: float,
    largest: F32,
    check: Callable[[], None],
) -> None:
    """The subject's ``rows`` (M,), which no frame shows, are fitted to ``mirrored`` in place.

    Args:
        frames: as they shall stay. Colours learn nothing from them: what stands beside the outline
            there would get the colour of nothing.
        spacing: usual distance of neighbours, world units: none moves farther.
        largest: (M,) standard deviation up to which each may grow, world units; what is larger
            does not grow.
        check: called at every step; may raise `Cancelled`.
    """
    at = torch.from_numpy(rows).to(model.device)
    whole = {name: model.params[f"subject.{name}"].detach() for name in _RATES}
    mine = {name: value[at].clone() for name, value in whole.items()}
    limit = torch.from_numpy(np.log(np.maximum(largest, 1e-9)).astype(np.float32))
    most = torch.maximum(mine["log_scales"], limit.to(model.device)[:, None])
    mine["means"].zero_()  # as moved from where they are, in distances of neighbours
    groups = [
        {"params": [value.requires_grad_()], "lr": _RATES[name]} for name, value in mine.items()
    ]
    optimizer = torch.optim.Adam(groups, eps=_EPS)
    with torch.no_grad():
        bases, coefs = model.compute_bases(), model.compute_coefs()
        shown = {picture.frame for picture in [mirrored, *frames]}
        columns = {f: model.blend(bases[:, f], coefs) for f in shown}

    def join() -> dict[str, Tensor]:
        now = {n: v.index_copy(0, at, mine[n]) for n, v in whole.items() if n != "means"}
        return now | {"means": whole["means"].index_add(0, at, spacing * mine["means"])}

    def pose(p: dict[str, Tensor], frame: int) -> Splats:
        means, quats = skin_splats(columns[frame], p["means"], F.normalize(p["quats"], dim=-1))
        rgb = (0.5 + SH_C0 * p["sh0"]).clamp(0, 1)
        return Splats(means, quats, p["log_scales"].exp(), p["logit_opacities"].sigmoid(), rgb)

    random = np.random.default_rng(0)
    for step in range(STEPS):
        check()
        now = join()
        behind = torch.from_numpy(random.random(3, np.float32)).to(model.device)
        loss = _compare(_draw(pose(now, mirrored.frame), mirrored.view), mirrored.image, behind)
        if step % _EVERY == 0:
            kept = frames[int(random.integers(len(frames)))]
            splats = pose(now, kept.frame)
            splats.rgb = splats.rgb.detach()
            loss = loss + _FRAME * _compare(_draw(splats, kept.view), kept.image, behind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            way = mine["means"].norm(dim=-1, keepdim=True) / _MOST
            mine["means"] /= way.clamp_min(1)
            mine["log_scales"].copy_(torch.minimum(mine["log_scales"], most))
    with torch.no_grad():
        for name, value in join().items():
            model.params[f"subject.{name}"].copy_(value)


def _fit_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _LONGEST / max(size))
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _draw(splats: Splats, view: View) -> Tensor:  # -> (H, W, 4)
    image, alpha, _ = rasterize(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        splats.rgb,
        torch.from_numpy(view.w2c).to(splats.means.device),
        torch.from_numpy(view.K).to(splats.means.device),
        *view.size,
    )
    return torch.cat([image, alpha[..., None]], -1)


def _compare(image: Tensor, goal: Tensor, behind: Tensor) -> Tensor:
    """Sum of absolute differences (H, W, 4) x2 over one colour (3,), in pixels."""
    over = [i[..., :3] + (1 - i[..., 3:]) * behind for i in (image, goal)]
    return (over[0] - over[1]).abs().sum() / 3
