"""First Gaussians: subject pixels carried to the canonical frame, background pixels lifted to the
world.

Seeding the subject from driving frames is the paper's disocclusion backtracing (Eq. 7-8), for
pixels instead of tracks alone: whatever a frame shows and no Gaussian covers yet is inserted there
and carried back through the inverse of Eq. 1.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.clips import Priors, Rewound
from restage4d.errors import FitError
from restage4d.priors.geometry.pixels import find_pixels
from restage4d.puppet import rgb_to_sh
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fusion.far_side import build_far_side, find_contradicted, find_isolated
from restage4d.reconstruct.fusion.guessed_views import GuessedView
from restage4d.reconstruct.model.camera_correction import make_camera_params
from restage4d.reconstruct.model.scene_model import SceneModel
from restage4d.reconstruct.motion.initialisation import Motion
from restage4d.reconstruct.motion.lifting import unproject

F32 = NDArray[np.float32]
_NEAR_TRACKS = 12  # tracks that lend a seed their coefficients
# times that a hidden track counts as farther off: it is of another side, and its place is a guess
_HIDDEN_FARTHER = 2.0
_SEEDED = 0.8  # of the most Gaussians; the rest is for density control
_CARVED_BY = 16  # frames that may contradict a seed
_GUESS = 0.1  # share of them that may contradict a guess of the far side
_OBSERVATION = 0.5  # and an observation of a driving frame
_SAME_SURFACE = 0.12  # of the subject's extent: closer in depth than this, a seed covers a pixel
_SAME_SIDE = 0.04  # and in a guessed view, where legs stand behind one another


def seed_scene(
    motion: Motion,
    canonical: int,
    rewound: Rewound,
    priors: Priors,
    config: FitConfig,
    device: torch.device | None = None,
    views: Sequence[GuessedView] = (),
) -> SceneModel:
    """The scene before photometric fusion, on ``device``; the subject's far side is what guessed
    ``views`` show, where there are any."""
    params = {"bases.rots": motion.rots, "bases.trans": motion.trans}
    subject, far = _seed_subject(motion, canonical, rewound, priors, config, views)
    params |= subject
    params |= _seed_background(rewound, priors, config)
    if config.fusion.lr_cameras > 0:
        params |= make_camera_params(priors.cameras)
    return SceneModel(
        {name: value.to(device or "cpu") for name, value in params.items()},
        far=far.to(device or "cpu"),
    )


def choose_seed_frames(
    rewound: Rewound, canonical: int, count: int, backtracing: bool
) -> list[int]:
    """Frames whose pixels seed the subject: the canonical one, then base frames, then driving
    frames, evenly spread."""
    frames = [canonical]
    base = rewound.video(0)
    frames += [
        int(base[i]) for i in np.linspace(0, len(base) - 1, min(count, len(base))).astype(int)
    ]
    if backtracing:
        for source in range(1, rewound.n_branches + 1):
            rows = rewound.video(source)
            frames += [
                int(rows[i])
                for i in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
            ]
    return list(dict.fromkeys(frames))


def _seed_subject(
    motion: Motion,
    canonical: int,
    rewound: Rewound,
    priors: Priors,
    config: FitConfig,
    views: Sequence[GuessedView],
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Parameters of the subject, and by how much each Gaussian (N,) was guessed behind its surface,
    0 for those on it."""
    c = config.fusion
    bases = motion.compute_bases().numpy()
    coefs = torch.softmax(motion.coefs, -1).numpy()
    paths, seen = motion.compute_points().numpy(), motion.visible.numpy()

    def collect(stride: float) -> tuple[F32, ...]:
        shapes = ((0, 3), (0, coefs.shape[1]), (0, 3), 0, 0)
        found: tuple[F32, ...] = tuple(np.zeros(shape, np.float32) for shape in shapes)
        for t in choose_seed_frames(rewound, canonical, c.seed_frames, config.backtracing):
            inside = (priors.masks[t] > 0.5) & (priors.depth[t] > 0)
            known = se3.transform(*se3.blend_dense(bases[:, t], found[1]), found[0])
            xy, depth, rgb = _find_uncovered(
                known, inside, _look_at(rewound, priors, t), stride, _SAME_SURFACE
            )
            points = unproject(xy, depth, priors.cameras.K[t], priors.cameras.w2c[t])
            beta = interpolate_coefs(points, paths[:, t], seen[:, t], coefs, config.influences)
            R, shift = se3.blend_dense(bases[:, t], beta)
            canon = se3.inverse_transform(R, shift, points).astype(np.float32)  # Eq. 8
            if rewound.source[t] > 0:  # what a generator invents, the base video does not know
                keep = ~_find_contradicted(
                    canon, beta, rewound.video(0), priors, bases, _OBSERVATION
                )
                xy, depth, rgb, beta, canon = (
                    xy[keep],
                    depth[keep],
                    rgb[keep],
                    beta[keep],
                    canon[keep],
                )
            if not len(xy):
                continue
            surface = np.full(len(xy), np.inf, np.float32), np.zeros(len(xy), np.float32)
            new: list[tuple[F32, ...]] = [(canon, beta, rgb, *surface)]
            if c.far_side and not views:
                new.append(
                    _seed_far_side(t, xy, depth, beta, stride, known, rewound, priors, bases)
                )
            found = tuple(np.concatenate(parts) for parts in zip(found, *new, strict=True))
        for view in views:
            t = rewound.seam
            carriers = paths[:, t], seen[:, t], coefs, config.influences
            new = [_seed_view(view, found, carriers, stride, rewound, priors, bases)]
            found = tuple(np.concatenate(parts) for parts in zip(found, *new, strict=True))
        return found

    alone = int(((priors.masks[canonical] > 0.5) & (priors.depth[canonical] > 0)).sum())
    means, betas, colours, reach, far = _limit_count(
        c.max_subject * _SEEDED, c.subject_stride, alone, collect
    )
    if len(means) < 8:
        raise FitError(
            f"Only {len(means)} pixels of the subject have depth: nothing to reconstruct."
        )
    params = _make_splat_params("subject", means, colours, 0.7, reach)
    params["subject.coefs"] = torch.from_numpy(np.log(np.maximum(betas, 1e-5)).astype(np.float32))
    return params, torch.from_numpy(far)


def _seed_view(
    view: GuessedView,
    found: tuple[F32, ...],
    carriers: tuple[F32, NDArray[np.bool_], F32, int],
    stride: float,
    rewound: Rewound,
    priors: Priors,
    bases: F32,
) -> tuple[F32, ...]:
    """What a guessed view shows beyond the Gaussians ``found``, as `_seed_far_side` gives it;
    ``carriers`` lend coefficients (`interpolate_coefs`). None counts as behind the surface: a frame
    that shows one decides it."""
    t = rewound.seam
    shot = view.shot
    assert shot.depth is not None  # guessed views have it
    look = _Look(*(a.cpu().numpy() for a in (shot.target, shot.depth, shot.K, view.w2c)))
    known = se3.transform(*se3.blend_dense(bases[:, t], found[1]), found[0])
    xy, depth, rgb = _find_uncovered(known, look.depth > 0, look, stride, _SAME_SIDE)
    points = unproject(xy, depth, look.K, look.w2c)
    beta = interpolate_coefs(points, *carriers)
    means = se3.inverse_transform(*se3.blend_dense(bases[:, t], beta), points).astype(np.float32)
    keep = ~_find_contradicted(means, beta, np.arange(len(rewound)), priors, bases, _GUESS)
    means, beta, rgb = means[keep], beta[keep], rgb[keep]
    return means, beta, rgb, np.full(len(means), np.inf, np.float32), np.zeros_like(means[:, 0])


def _seed_far_side(
    t: int,
    xy: F32,
    depth: F32,
    beta: F32,
    stride: float,
    known: F32,
    rewound: Rewound,
    priors: Priors,
    bases: F32,
) -> tuple[F32, ...]:
    """The far side of frame t's new seeds: canonical means (M, 3), coefficients (M, K), colours (M,
    3), largest sizes (M,), and by how much they are behind (M,).

    Nothing where the body ``known`` (N, 3) at t already has a surface, or where other frames
    contradict.
    """
    K, w2c = priors.cameras.K, priors.cameras.w2c
    found = build_far_side(
        xy, depth, rewound.clip.frames[t], priors.masks[t], float(K[t, 0, 0]), stride
    )
    points = unproject(found.xy, found.depth, K[t], w2c[t])
    beta = beta[found.front]
    R, shift = se3.blend_dense(bases[:, t], beta)
    means = se3.inverse_transform(R, shift, points).astype(np.float32)
    keep = ~_find_contradicted(means, beta, np.arange(len(rewound)), priors, bases, _GUESS)
    keep &= find_isolated(points, known, 1.5 * stride * found.depth / K[t, 0, 0])
    return means[keep], beta[keep], found.rgb[keep], found.reach[keep], found.behind[keep]


def _find_contradicted(
    means: F32, beta: F32, frames: NDArray[np.intp], priors: Priors, bases: F32, most: float
) -> NDArray[np.bool_]:
    """Which canonical points (M, 3) more than ``most`` of ``frames``, or of `_CARVED_BY` among
    them, contradict."""
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, _CARVED_BY).astype(int))]
    posed = np.stack([se3.transform(*se3.blend_dense(bases[:, f], beta), means) for f in frames], 1)
    K, w2c = priors.cameras.K[frames], priors.cameras.w2c[frames]
    return find_contradicted(
        posed, priors.masks[frames], priors.depth[frames], K, w2c, _SAME_SURFACE, most
    )


def interpolate_coefs(
    points: F32, near: F32, seen: NDArray[np.bool_], coefs: F32, influences: int
) -> F32:
    """Coefficients (N, K) of points (N, 3) from the nearest tracks ``near`` (P, 3), weighted by
    inverse distance (paper section 3.4), those that the frame shows (``seen``) first; the strongest
    ``influences`` stay."""
    k = min(3 * _NEAR_TRACKS, len(near))
    distance, index = (
        np.asarray(a).reshape(len(points), k) for a in KDTree(near).query(points, k=k)
    )
    distance = np.where(seen[index], distance, _HIDDEN_FARTHER * distance)
    order = np.argsort(distance, 1, kind="stable")[:, :_NEAR_TRACKS]
    distance, index = np.take_along_axis(distance, order, 1), np.take_along_axis(index, order, 1)
    weight = 1.0 / (distance + 1e-4)
    weight = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    beta = np.einsum("nj,njk->nk", weight, coefs[index])
    if influences < beta.shape[1]:
        beta[
            beta < -np.partition(-beta, influences - 1, axis=1)[:, influences - 1 : influences]
        ] = 0
    return (beta / beta.sum(1, keepdims=True)).astype(np.float32)


def _seed_background(
    rewound: Rewound, priors: Priors, config: FitConfig
) -> dict[str, torch.Tensor]:
    c = config.fusion
    frames = np.unique(np.linspace(0, len(rewound) - 1, 2 * c.seed_frames).astype(int))
    frames = [rewound.seam, *(int(t) for t in frames if t != rewound.seam)]

    def collect(stride: float) -> tuple[F32, F32]:
        means, colours = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
        for t in frames:
            look = _look_at(rewound, priors, t)
            outside = _select_background(priors.masks[t]) & (look.depth > 0)
            xy, depth, rgb = _find_uncovered(means, outside, look, stride, 0.2 * look.depth)
            means = np.concatenate(
                [means, unproject(xy, depth, priors.cameras.K[t], priors.cameras.w2c[t])]
            )
            colours = np.concatenate([colours, rgb])
        return means, colours

    shown = _select_background(priors.masks[rewound.seam]) & (priors.depth[rewound.seam] > 0)
    means, colours = _limit_count(
        c.max_background * _SEEDED, c.background_stride, int(shown.sum()), collect
    )
    return _make_splat_params("background", means, colours, 0.7)


def _select_background(mask: F32, pixels: int = 2) -> NDArray[np.bool_]:
    """Background that is ``pixels`` away from subject or unknown band."""
    near = mask != 0
    for _ in range(pixels):
        grown = near.copy()
        grown[1:] |= near[:-1]
        grown[:-1] |= near[1:]
        grown[:, 1:] |= near[:, :-1]
        grown[:, :-1] |= near[:, 1:]
        near = grown
    return ~near


def _limit_count(
    limit: float, stride: float, pixels: int, collect: Callable[[float], tuple[F32, ...]]
) -> tuple[F32, ...]:
    """Seeds at ``stride`` pixels, or wider apart until all frames together give at most ``limit``:
    none goes short. ``pixels`` of the first frame are seeded, of which more are not even tried."""
    stride = max(stride, float(np.sqrt(pixels / limit)))
    while True:
        found = collect(stride)
        if len(found[0]) <= limit:
            return found
        stride *= max(1.05, float(np.sqrt(len(found[0]) / limit)))


class _Look(NamedTuple):
    """A picture (H, W, 3) in 0..1 with z-depth (H, W), and its camera K (3, 3), w2c (4, 4)."""

    picture: F32
    depth: F32
    K: F32
    w2c: F32


def _look_at(rewound: Rewound, priors: Priors, t: int) -> _Look:
    picture = rewound.clip.frames[t].astype(np.float32) / 255
    return _Look(picture, priors.depth[t], priors.cameras.K[t], priors.cameras.w2c[t])


def _find_uncovered(
    points: F32, region: NDArray[np.bool_], look: _Look, stride: float, tolerance: F32 | float
) -> tuple[F32, F32, F32]:
    """Grid pixels of ``region`` (H, W) on whose surface no point (N, 3) lies, none within
    ``tolerance`` of its depth: xy (M, 2), depth (M,), rgb (M, 3) in 0..1."""
    height, width = region.shape
    covered = np.zeros((height, width), bool)
    if len(points):
        row, col, z, inside = find_pixels(points, look.K, look.w2c, region.shape)
        near = np.abs(z - look.depth[row, col]) < np.broadcast_to(tolerance, region.shape)[row, col]
        row, col = row[inside & near], col[inside & near]
        reach = int(np.ceil(stride / 2))
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                covered[(row + dy).clip(0, height - 1), (col + dx).clip(0, width - 1)] = True
    rows = np.arange(stride / 2, height, stride).astype(int)
    cols = np.arange(stride / 2, width, stride).astype(int)
    row, col = (a.ravel() for a in np.meshgrid(rows, cols, indexing="ij"))
    take = region[row, col] & ~covered[row, col]
    row, col = row[take], col[take]
    xy = np.stack([col + 0.5, row + 0.5], -1).astype(np.float32)
    return xy, look.depth[row, col], look.picture[row, col]


def _make_splat_params(
    part: str, means: F32, rgb: F32, opacity: float, limit: F32 | None = None
) -> dict[str, torch.Tensor]:
    """Isotropic Gaussians whose size is the mean distance to their three nearest, clamped to its
    5-95 % range and ``limit``."""
    n = len(means)
    if n > 3:
        distance, _ = KDTree(means).query(means, k=4)
        size = distance[:, 1:].mean(1)
        size = np.clip(size, *np.quantile(size, [0.05, 0.95])) + 1e-5
    else:
        size = np.full(n, 0.01)
    if limit is not None:
        size = np.minimum(size, limit)
    quats = np.zeros((n, 4), np.float32)
    quats[:, 0] = 1
    values = {
        "means": means,
        "quats": quats,
        "log_scales": np.log(np.repeat(size[:, None], 3, 1)),
        "logit_opacities": np.full(n, np.log(opacity / (1 - opacity))),
        "sh0": rgb_to_sh(rgb),
    }
    return {
        f"{part}.{name}": torch.from_numpy(np.ascontiguousarray(v, np.float32))
        for name, v in values.items()
    }
