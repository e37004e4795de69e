"""Floater removal: Gaussians that no frame shows or allows, small components away from the body,
and the colours of those hardly shown.

Density control leaves such Gaussians inside and behind the subject, where nothing supervises them:
through the clip's camera they are not seen, from beside and behind they are blots.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from restage4d.reconstruct.fusion.guessed_views import GuessedView
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.model.scene_model import SceneModel, Splats
from restage4d.splatting import rasterize
from restage4d.splatting.constants import EPS2D
from restage4d.splatting.gaussians import draw_side_by_side

_STRAY = 0.02  # of the extent; from where a frame allows it, from which a point protrudes
_ELONGATED = 3.0  # times the second axis, up to which the longest may reach ...
_SHORT = 0.01  # ... or this part of the extent
_STRAY_FRAMES = 0.1  # share of the frames in which it may


def measure_visibility(
    model: SceneModel,
    frames: list[int],
    K: Sequence[Tensor] | Tensor,
    camera: Callable[[int], Tensor],
    size: tuple[int, int],
    where: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The largest share of each Gaussian's footprint that reaches the eye in any of ``frames``:
    subject (N,), background (B,).

    The weight with which a Gaussian enters the picture is the gradient of the picture's sum by its
    colour. Its footprint is taken from the largest and the smallest axis, so that a flake seen face
    on never counts as hidden. Only pixels of ``where`` (T, H, W) count, by their weight.
    """
    background = model.get_background()

    def measure(t: int) -> Tensor:
        with torch.no_grad():
            subject = model.pose_subject(t)
        return _measure_shares(
            [subject, background], camera(t), K[t], size, None if where is None else where[t]
        )

    best = torch.zeros(model.n_subject + len(background.means), device=model.device)
    for share in draw_side_by_side(measure, frames):
        best = torch.maximum(best, share)
    return best[: model.n_subject], best[model.n_subject :]


def measure_guessed_visibility(
    model: SceneModel, frame: int, views: Sequence[GuessedView]
) -> Tensor:  # -> (N,)
    """The same in views of the subject alone, as it is at ``frame``."""
    with torch.no_grad():
        subject = model.pose_subject(frame)
    shares = draw_side_by_side(
        lambda view: _measure_shares([subject], view.w2c, view.shot.K, view.shot.size), views
    )
    best = torch.zeros(model.n_subject, device=model.device)
    for share in shares:
        best = torch.maximum(best, share)
    return best


def _measure_shares(
    parts: list[Splats],
    w2c: Tensor,
    K: Tensor,
    size: tuple[int, int],
    where: Tensor | None = None,
) -> Tensor:  # (4, 4), (3, 3), (H, W) -> of all, one after the other
    with torch.no_grad():
        means, quats, scales, opacities = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("means", "quats", "scales", "opacities")
        )
    colors = torch.zeros(len(means), 1, device=means.device, requires_grad=True)
    image, _, info = rasterize(means, quats, scales, opacities, colors, w2c.detach(), K, *size)
    counted = image if where is None else image * where[..., None]
    (weight,) = torch.autograd.grad(counted.sum(), colors)
    pixels = K[0, 0] / info["depths"].clamp_min(0.01)
    extent = [((scales.aminmax(dim=-1)[i] * pixels).square() + EPS2D).sqrt() for i in (0, 1)]
    footprint = 2 * math.pi * extent[0] * extent[1] * opacities
    return weight[:, 0] / footprint.clamp_min(1e-9)


def find_protruding(
    hull: Hull, points: Tensor, frames: list[int], K: Tensor, w2c: Tensor
) -> Tensor:  # (N, F, 3), F, (F, 3, 3), (F, 4, 4) -> (N,) bool
    """Points that too many of ``frames`` do not allow where they are."""
    with torch.no_grad():
        at = torch.tensor(frames, device=points.device)
        excess = hull.compute_excess(points, at, K, w2c)
    return (excess > _STRAY).float().mean(1) > _STRAY_FRAMES


def find_small_components(
    edges: Tensor, paths: Tensor, share: float = 0.003, reach: float = 6.0
) -> Tensor:  # (E, 2), (N, F, 3) -> (N,) bool
    """Points in pieces smaller than ``share`` of all. Pieces hang together by edges that keep
    within ``reach`` median lengths in all F frames: what tears away in a performance is as much a
    floater as what never touched the body."""
    n = len(paths)
    length = (paths[edges[:, 0]] - paths[edges[:, 1]]).norm(dim=-1)
    i, j = edges[(length <= reach * length.median(0).values).all(-1)].cpu().numpy().T
    _, piece = connected_components(
        coo_matrix((np.ones(len(i), bool), (i, j)), shape=(n, n)), directed=False
    )
    return torch.from_numpy(np.bincount(piece)[piece] < share * n).to(paths.device)


def average_neighbour_colours(
    sh0: Tensor, weight: Tensor, edges: Tensor
) -> Tensor:  # (N, 3), (N,), (E, 2) -> (N, 3)
    """Mean colour of each Gaussian's neighbours in Ω, those with more ``weight`` counting more."""
    i, j = edges[:, 0], edges[:, 1]
    weight = weight.clamp_min(1e-4)
    total = torch.zeros_like(weight).index_add(0, i, weight[j])
    return (
        torch.zeros_like(sh0).index_add(0, i, weight[j, None] * sh0[j])
        / total.clamp_min(1e-6)[:, None]
    )


def shorten_needles(model: SceneModel) -> None:
    """Subject Gaussians much longer than wide lose what is too long, in place.

    Such a needle points along the view or out of a shadow's edge: the frames hardly show its
    length, from beside it is a spike. Few are so (about 1 in 250), and the frames hardly change.
    """
    scales = model.params["subject.log_scales"]
    with torch.no_grad():
        low, high = torch.quantile(
            model.params["subject.means"], scales.new_tensor([0.02, 0.98]), 0
        )
        second = scales.sort(dim=-1).values[:, 1:2] + math.log(_ELONGATED)
        least = torch.log(_SHORT * (high - low).max())
        scales.copy_(torch.minimum(scales, torch.maximum(second, least)))
