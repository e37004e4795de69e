"""Completion after the fit: the subject's far side as the mirror image of the side that was filmed.

While the fit runs, `far_side` keeps coarse guesses behind the surface, so that the body has a
volume. No frame supervises them, so they stay coarse. Here those that no frame shows give way to
the fitted Gaussians of the near side, reflected through the middle of the body: the surface that
the camera sees, moved by the half thickness that the outline allows
(`restage4d.priors.geometry.inflation.inflate`). Their detail, colours and coefficients come along.

One frame is enough: the one that shows most of the subject. From several, each with an outline and
a middle of its own, the mirror images do not agree and lie over one another.

A body that turned before the camera by more than a quarter has shown its other side: its guesses
are left as the frames carved them, which is nearer to the truth than a mirror image.

What frames show wins: nothing is added where an observed surface lies already, or where frames see
past the place, and what is added stays as small as keeps it inside their outlines. Gaussians along
the outline, which may hold the background's colour, are no sources; the wall between both sides is
closed with copies of those next to them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.clips import Cameras, Priors, Rewound
from restage4d.priors.geometry.inflation import inflate
from restage4d.reconstruct.fusion.far_side import find_contradicted
from restage4d.reconstruct.fusion.floaters import measure_visibility
from restage4d.reconstruct.fusion.rendering import render_view
from restage4d.reconstruct.model.scene_model import SPLAT_FIELDS, SceneModel
from restage4d.reconstruct.motion.body_motion import procrustes

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_FRAMES = 16  # that say what is shown, and may contradict; the one with most of the subject mirrors
_CONTRADICTED = 0.1  # share of them that may
_SHOWN = 0.1  # share of its footprint from which a frame decides a guess: the surface before it is
# never quite solid, and without those that show through it the frames lose 1.5 dB of the subject
_SOURCE = 0.05  # and from which one decides a Gaussian of the near side: they overlap
_SURFACE = 0.04  # of the extent: a Gaussian this near to the drawn surface belongs to it
_TOLERANCE = 0.12  # of the extent, by which a reflected Gaussian may lie before a seen surface
_LIP = 2.0  # pixels along the outline whose colours may be mixed with the background
_WALL = 3.0  # pixels beyond the lip whose Gaussians close the wall between both sides
_COVERED = 2.0  # distances of neighbours, within which an observed Gaussian covers a place
_GUESS_COVERED = 4.0  # and within which a guess, which is sparser, is not needed
_ROUND = 90.0  # degrees of turn from which the frames have seen the other side
_BEYOND = 0.04  # of the extent, by which a guess may lie behind the reflected surface
_SOLID = 0.5  # alpha from which a pixel shows the subject


@dataclass(frozen=True)
class Reflection:
    """Gaussians of one frame reflected: ``source`` (M,) rows of those they are copies of, ``means``
    (M, 3) and ``quats`` (M, 4) in the world at that frame, ``grow`` (M,) by which sizes change."""

    source: NDArray[np.intp]
    means: F32
    quats: F32
    grow: F32


def complete_far_side(
    model: SceneModel, rewound: Rewound, priors: Priors, cameras: Cameras
) -> None:
    """Completes ``model`` in place. ``cameras`` are those of the fit, corrections included."""
    frames = np.linspace(0, len(rewound) - 1, min(_FRAMES, len(rewound))).astype(int)
    K, w2c = (torch.from_numpy(a).to(model.device) for a in (cameras.K, cameras.w2c))
    shares, _ = measure_visibility(model, frames.tolist(), K, lambda t: w2c[t], rewound.clip.size)
    share, far = shares.cpu().numpy(), (model.far > 0).cpu().numpy()
    near = ~far & (share > _SOURCE)
    hidden = far & (share <= _SHOWN)
    t = int(max(frames, key=lambda t: int((priors.masks[t] > 0.5).sum())))
    mask = priors.masks[t] > 0.5
    if not hidden.any() or not near.any() or not mask.any():
        return
    body = _Body(model)
    posed, turned, R, shift = body.pose(t)
    if _measure_turn(body, near, frames, cameras) > _ROUND:
        return
    surface = _draw_surface(model, K[t], w2c[t], rewound.clip.size, t)
    found = reflect(posed, turned, near, surface, mask, cameras.K[t], cameras.w2c[t])
    if not len(found.source):
        return
    spacing = _measure_spacing(posed[near])
    free = _measure_distance(found.means, posed[~hidden]) > _COVERED * spacing
    R, shift = R[found.source], shift[found.source]
    means = se3.inverse_transform(R, shift, found.means).astype(np.float32)
    places = np.stack([se3.transform(*body.blend(int(f), found.source), means) for f in frames], 1)
    room = _measure_room(places, priors.masks, cameras, frames)
    extent = float(np.ptp(np.quantile(body.means, [0.02, 0.98], axis=0), axis=0).max())
    free &= room > 0
    free &= ~find_contradicted(
        places,
        priors.masks[frames],
        priors.depth[frames],
        cameras.K[frames],
        cameras.w2c[frames],
        _TOLERANCE * extent,
        _CONTRADICTED,
    )
    back = se3.matrix_to_quat(np.swapaxes(R, -1, -2)).astype(np.float32)
    quats = se3.quat_multiply(back, found.quats)
    # guesses stay where this frame has nothing better, and its body reaches
    done = np.concatenate([posed[~hidden], found.means[free]])
    keep = ~hidden
    keep[hidden] = _measure_distance(posed[hidden], done) > _GUESS_COVERED * spacing
    keep[hidden] &= find_inside(
        posed[hidden], surface, mask, cameras.K[t], cameras.w2c[t], _BEYOND * extent
    )
    rows = np.concatenate([np.flatnonzero(keep), found.source[free]])
    most = (room[free] / 3).astype(np.float32)
    _append(model, rows, int(keep.sum()), means[free], quats[free], found.grow[free], most)


def reflect(
    means: F32, quats: F32, may: Bool, surface: F32, mask: Bool, K: F32, w2c: F32
) -> Reflection:
    """The mirror image of the surface that one frame shows.

    Args:
        means, quats: (N, 3), (N, 4) wxyz, all Gaussians in the world at the frame.
        may: (N,) which may be sources.
        surface: (H, W) z-depth of the drawn subject, 0 where it is not.
        mask: (H, W) the subject.
        K, w2c: of the frame.
    """
    height, width = mask.shape
    camera = means @ w2c[:3, :3].T + w2c[:3, 3]
    z = camera[:, 2]
    pixel = np.floor((camera / np.maximum(z, 1e-6)[:, None]) @ K.T)[:, :2].astype(int)
    column, row = pixel[:, 0].clip(0, width - 1), pixel[:, 1].clip(0, height - 1)
    extent = float(np.ptp(np.quantile(means, [0.02, 0.98], axis=0), axis=0).max())
    front = surface[row, column]
    inside = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    margin = inside[row, column]
    seen = may & (z > 0) & (front > 0) & (np.abs(z - front) < _SURFACE * extent)
    source = np.flatnonzero(seen & (margin > _LIP))
    half = inflate(mask)[row, column][source] / K[0, 0] * front[source]
    thick = 2 * half + 2 * (front[source] - z[source])  # z' = 2 (front + half) - z
    thick = np.maximum(thick, 0.0)
    spacing = _measure_spacing(means[source])
    layers = np.where(
        margin[source] <= _LIP + _WALL, np.ceil(thick / max(spacing, 1e-6)), 1
    ).astype(int)
    layers = layers.clip(1, 12)
    repeat = np.repeat(np.arange(len(source)), layers)
    number = np.arange(len(repeat)) - np.repeat(np.cumsum(layers) - layers, layers) + 1
    share = number / layers[repeat]
    source = source[repeat]
    grow = 1 + share * thick[repeat] / z[source]
    moved = (camera[source] * grow[:, None] - w2c[:3, 3]) @ w2c[:3, :3]
    axis = camera[source] / np.linalg.norm(camera[source], axis=1, keepdims=True) @ w2c[:3, :3]
    return Reflection(
        source,
        moved.astype(np.float32),
        mirror_quats(quats[source], axis),
        grow.astype(np.float32),
    )


def find_inside(points: F32, surface: F32, mask: Bool, K: F32, w2c: F32, tolerance: float) -> Bool:
    """Points (M, 3) inside the body that one frame shows: within its outline, and no more than
    ``tolerance`` behind the mirror image of its ``surface`` (H, W; see `reflect`). What lies beyond
    was guessed behind another frame's surface, and hangs in the air."""
    camera = points @ w2c[:3, :3].T + w2c[:3, 3]
    z = np.maximum(camera[:, 2], 1e-6)
    column, row = np.floor((camera / z[:, None]) @ K.T)[:, :2].astype(int).T
    height, width = mask.shape
    seen = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    column, row = column.clip(0, width - 1), row.clip(0, height - 1)
    front = surface[row, column]
    back = front * (1 + 2 * inflate(mask)[row, column] / K[0, 0])
    return seen & mask[row, column] & ((front <= 0) | (z < back + tolerance))


def mirror_quats(quats: F32, normals: F32) -> F32:  # (M, 4), (M, 3) -> (M, 4)
    """Orientations of Gaussians reflected through planes with unit ``normals``.

    A Gaussian is the same with one of its axes turned round, so that the reflection of its axes,
    with the last one turned, is a rotation again.
    """
    axes = se3.quat_to_matrix(quats)
    axes = axes - 2 * normals[:, :, None] * np.einsum("mi,mij->mj", normals, axes)[:, None, :]
    axes[:, :, 2] *= -1
    return se3.matrix_to_quat(axes).astype(np.float32)


class _Body:
    """The model's subject, posed in numpy."""

    def __init__(self, model: SceneModel) -> None:
        with torch.no_grad():
            self.bases = model.compute_bases().cpu().numpy()
            index, weight = model.find_top_influences(self.bases.shape[0])
            self.index, self.weight = (a.cpu().numpy() for a in (index, weight))
            self.means = model.params["subject.means"].cpu().numpy()
            quats = torch.nn.functional.normalize(model.params["subject.quats"], dim=-1)
            self.quats = quats.cpu().numpy()

    def blend(self, t: int, rows: NDArray[np.intp] | slice = slice(None)) -> tuple[F32, F32]:
        """Rotation (N, 3, 3) and shift (N, 3) of Eq. 1 at frame t."""
        R, shift = se3.blend(self.bases[:, t], self.index[rows], self.weight[rows])
        return R.astype(np.float32), shift.astype(np.float32)

    def pose(self, t: int) -> tuple[F32, F32, F32, F32]:
        """Means and orientations in the world at frame t, and what brought them there."""
        R, shift = self.blend(t)
        turn = se3.matrix_to_quat(R).astype(np.float32)
        return se3.transform(R, shift, self.means), se3.quat_multiply(turn, self.quats), R, shift


def _measure_turn(body: _Body, near: Bool, frames: NDArray[np.intp], cameras: Cameras) -> float:
    """Degrees: the largest turn of the body before the camera between two of the frames."""
    seen = []
    for f in frames:
        w2c = cameras.w2c[f]
        seen.append(body.pose(int(f))[0][near] @ w2c[:3, :3].T + w2c[:3, 3])
    first = seen[0]
    R = np.stack([procrustes(first, now, np.ones(len(first), np.float32))[0] for now in seen])
    cosine = (np.einsum("aij,bij->ab", R, R) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).max())


def _draw_surface(
    model: SceneModel, K: torch.Tensor, w2c: torch.Tensor, size: tuple[int, int], t: int
) -> F32:
    """The z-depth (H, W) of the subject drawn alone, 0 where it is not solid."""
    nothing = model.get_background()
    nothing = type(nothing)(**{name: value[:0] for name, value in vars(nothing).items()})
    with torch.no_grad():
        view = render_view(model.pose_subject(t), nothing, K, w2c, size)
        return torch.where(view.subject > _SOLID, view.depth, 0).cpu().numpy()


def _measure_spacing(points: F32) -> float:  # (N, 3)
    """Median distance to the third nearest neighbour."""
    if len(points) < 4:
        return 0.0
    return float(np.median(np.asarray(KDTree(points).query(points, k=4)[0])[:, 3]))


def _measure_distance(points: F32, others: F32) -> F32:  # (M, 3), (N, 3) -> (M,)
    """To the nearest of the others."""
    return np.asarray(KDTree(others).query(points)[0], np.float32)


def _measure_room(posed: F32, masks: F32, cameras: Cameras, frames: NDArray[np.intp]) -> F32:
    """How far inside the frames' outlines points (M, F, 3) lie, world units (M,): in nine of ten
    frames at least that far. 0 for points outside."""
    rooms = []
    height, width = masks.shape[1:]
    for i, f in enumerate(frames):
        inside = np.asarray(distance_transform_edt(np.pad(masks[f] > 0.5, 1)))[1:-1, 1:-1]
        w2c, K = cameras.w2c[f], cameras.K[f]
        camera = posed[:, i] @ w2c[:3, :3].T + w2c[:3, 3]
        z = np.maximum(camera[:, 2], 1e-6)
        pixel = np.floor((camera / z[:, None]) @ K.T)[:, :2].astype(int)
        column, row = pixel[:, 0].clip(0, width - 1), pixel[:, 1].clip(0, height - 1)
        rooms.append(np.where(inside[row, column] > 1, inside[row, column], 0) * z / K[0, 0])
    return np.quantile(np.stack(rooms, 1), _CONTRADICTED, axis=1).astype(np.float32)


def _append(
    model: SceneModel, rows: NDArray[np.intp], n_kept: int, means: F32, quats: F32, grow: F32,
    most: F32,
) -> None:  # fmt: skip
    """The model's subject becomes its ``rows``; those from ``n_kept`` on get the given means and
    orientations, and sizes that ``grow`` up to ``most`` (standard deviations, world units)."""
    at, p = torch.from_numpy(rows).to(model.device), model.params
    with torch.no_grad():
        for name in [*(f"subject.{f}" for f in SPLAT_FIELDS), "subject.coefs"]:
            p[name] = p[name][at].detach().clone()
        p["subject.means"][n_kept:] = torch.from_numpy(means).to(model.device)
        p["subject.quats"][n_kept:] = torch.from_numpy(quats).to(model.device)
        larger, limit = (torch.from_numpy(np.log(x)).to(at.device)[:, None] for x in (grow, most))
        sizes = p["subject.log_scales"][n_kept:] + larger
        p["subject.log_scales"][n_kept:] = torch.minimum(sizes, limit)
    model.take(at)
