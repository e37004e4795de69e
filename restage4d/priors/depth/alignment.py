"""Disparity of a network, known up to a scale and a shift per frame, to depth that is steady over
the whole clip.

Fitting each frame by itself to the few points known in it flickers (as Shape-of-Motion's
preprocessing does). Here two things are distinguished, and each is found from what knows it best:

- what the network changes *from frame to frame*, from background tracks: a track is one point of
  the world, the same in all of its frames, so its mean place says what each frame should have been.
  There are hundreds in every frame;
- the *scale of the whole*, from anchors, points of known depth (structure from motion; without any,
  the weight-free depth): one curve of scale and shift over the clip, too stiff to flicker.

The two take turns until nothing changes. Errors are counted in the network's disparity, where they
are made: counted in depth, a flat scene would explain the tracks best.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from restage4d.clips import Cameras, Rewound
from restage4d.priors.motion.optical_flow import sample

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_ROUNDS = 12
_STIFF = 30  # frames over which the curve to the anchors may bend
_ENOUGH = 8  # tracks in a frame from which it gets a scale and a shift of its own


@dataclass(frozen=True)
class Anchors:
    """Points of known depth: ``frame`` (A,), ``xy`` (A, 2) pixels, ``z`` (A,) depth there in the
    cameras' units."""

    frame: NDArray[np.intp]
    xy: F32
    z: F64


def collect_point_anchors(cameras: Cameras, masks: F32) -> Anchors:
    """The cameras' sparse points in every frame that sees them outside the subject. Those hidden by
    something else stay in."""
    frames, spots, depths = [], [], []
    height, width = masks.shape[1:]
    for t in range(len(masks)):
        local = cameras.points @ cameras.w2c[t, :3, :3].T.astype(np.float64) + cameras.w2c[t, :3, 3]
        ahead = local[:, 2] > 1e-6
        xy = (
            local[:, :2] / np.where(ahead, local[:, 2], 1)[:, None] * cameras.K[t, [0, 1], [0, 1]]
            + cameras.K[t, :2, 2]
        )
        inside = ahead & (xy >= 0.5).all(1) & (xy[:, 0] < width - 0.5) & (xy[:, 1] < height - 0.5)
        cell = np.floor(xy[inside]).astype(int)
        seen = np.flatnonzero(inside)[masks[t, cell[:, 1], cell[:, 0]] == 0]
        frames.append(np.full(len(seen), t))
        spots.append(xy[seen])
        depths.append(local[seen, 2])
    return Anchors(
        np.concatenate(frames), np.concatenate(spots).astype(np.float32), np.concatenate(depths)
    )


def collect_map_anchors(depth: F32, masks: F32, seed: int = 0) -> Anchors:
    """Anchors from a depth (T, H, W) that is trusted in the large: some pixels of the background of
    every eighth frame."""
    rng = np.random.default_rng(seed)
    frames, spots, depths = [], [], []
    for t in range(0, len(depth), 8):
        rows, cols = np.nonzero((masks[t] == 0) & (depth[t] > 0))
        chosen = rng.permutation(len(rows))[:200]
        frames.append(np.full(len(chosen), t))
        spots.append(np.stack([cols[chosen], rows[chosen]], 1) + 0.5)
        depths.append(depth[t, rows[chosen], cols[chosen]])
    return Anchors(
        np.concatenate(frames),
        np.concatenate(spots).astype(np.float32),
        np.concatenate(depths).astype(np.float64),
    )


def align(
    disparity: F32,
    rewound: Rewound,
    cameras: Cameras,
    tracks: F32,
    anchors: Anchors,
    shift: bool = True,
) -> F32:
    """Depth (T, H, W) in the cameras' units from ``disparity`` (T, H, W), larger = nearer, any
    scale and shift per frame.

    Args:
        tracks: (P, T, 2) background points as `restage4d.priors.motion.background_points.follow`
            gives them, NaN where not seen.
        anchors: see `Anchors`.
        shift: whether the disparity's zero is unknown; False for networks that give depth up to
            scale.

    Returns:
        Planar z-depth, clipped to 1/5 of the nearest and 20 times the farthest anchor. All 1 where
        there is not a single anchor.
    """
    if not len(anchors.z):
        return np.ones_like(disparity)
    usual = np.array([max(float(np.median(d)), 1e-6) for d in disparity])
    d = disparity / usual[:, None, None]  # of order 1, so that scale and shift weigh alike
    unit = float(np.median(1 / anchors.z))  # and inverse depth too
    at_anchors = np.empty(len(anchors.z))
    for t in np.unique(anchors.frame):
        at_anchors[anchors.frame == t] = sample(d[t], anchors.xy[anchors.frame == t])
    at_tracks = np.stack(
        [sample(d[t], np.nan_to_num(tracks[:, t])) for t in range(len(d))], 1
    ).astype(np.float64)
    at_tracks[~np.isfinite(tracks[..., 0])] = np.nan
    scale, offset = _fit_robust_line(at_anchors, 1 / (anchors.z * unit), shift)
    if scale <= 0:  # the disparity says nothing about these anchors: one scale for all
        scale, offset = float(np.median(1 / (anchors.z * unit * np.maximum(at_anchors, 1e-6)))), 0.0
    curve = np.tile([scale, offset], (len(d), 1))
    smooth = _build_second_differences(rewound)
    for _ in range(_ROUNDS):
        before = curve
        curve = _fit_to_tracks(curve, at_tracks, tracks, cameras, unit, shift)
        slow = _fit_to_anchors(curve, at_anchors, anchors, smooth, unit, shift)
        curve = np.stack([slow[:, 0] * curve[:, 0], slow[:, 0] * curve[:, 1] + slow[:, 1]], 1)
        if np.abs(curve - before).max() < 1e-4:
            break
    inverse = curve[:, 0, None, None] * d + curve[:, 1, None, None]
    near, far = np.percentile(anchors.z, [1, 99])
    return (1 / (np.clip(inverse, 1 / (20 * far * unit), 5 / (near * unit)) * unit)).astype(
        np.float32
    )


def align_each(disparity: F32, anchors: Anchors, shift: bool = True) -> F32:
    """As `align`, each frame by itself from its own anchors: what is usually done, and what `align`
    is measured against."""
    depth = np.ones_like(disparity)
    for t in range(len(disparity)):
        mine = anchors.frame == t
        if mine.sum() >= 2:
            d = sample(disparity[t], anchors.xy[mine]).astype(np.float64)
            s, b = _fit_robust_line(d, 1 / anchors.z[mine], shift)
            depth[t] = 1 / np.maximum(s * disparity[t] + b, 1e-3 / np.median(anchors.z))
    return depth


def _fit_to_tracks(
    curve: F64, d: F64, tracks: F32, cameras: Cameras, unit: float, shift: bool
) -> F64:
    """Scale and shift (T, 2) that bring every frame's disparities ``d`` (P, T) to the mean places
    of the tracks' points."""
    K, w2c = cameras.K.astype(np.float64), cameras.w2c.astype(np.float64)
    seen = np.isfinite(d)
    inverse = np.maximum(curve[:, 0] * np.nan_to_num(d, nan=1.0) + curve[:, 1], 0.02)
    ray = np.concatenate(
        [(tracks - K[:, :2, 2]) / K[:, [0, 1], [0, 1]], np.ones((*tracks.shape[:2], 1))], -1
    )
    local = np.nan_to_num(ray) / (inverse * unit)[..., None]
    places = np.einsum("tji,ptj->pti", w2c[:, :3, :3], local - w2c[:, :3, 3])
    weight = seen / np.maximum(local[..., 2], 1e-9) ** 2  # far places are known less
    point = (places * weight[..., None]).sum(1) / np.maximum(weight.sum(1), 1e-12)[:, None]
    z = np.einsum("ti,pi->pt", w2c[:, 2, :3], point) + w2c[:, 2, 3]
    wanted = 1 / (np.maximum(z, 1e-9) * unit)
    result = np.full_like(curve, np.nan)
    for t in range(len(curve)):
        use = seen[:, t] & (z[:, t] > 0) & (wanted[:, t] < 20)
        if use.sum() >= _ENOUGH:
            q, estimated = wanted[use, t], d[use, t]
            # d = (q - b) / s; held to the curve that it had where all points are equally far
            slope, at_zero = _fit_robust_line(
                q, estimated, shift, about=(1 / curve[t, 0], -curve[t, 1] / curve[t, 0])
            )
            if slope > 0.1 / curve[t, 0]:
                result[t] = 1 / slope, -at_zero / slope
    change = result - curve
    known = np.flatnonzero(np.isfinite(change[:, 0]))
    if not len(known):
        return curve
    for part in (0, 1):  # frames without tracks go with their neighbours
        change[:, part] = np.interp(np.arange(len(curve)), known, change[known, part])
    return curve + change


def _fit_to_anchors(
    curve: F64, d: F64, anchors: Anchors, smooth: sparse.csr_array, unit: float, shift: bool
) -> F64:
    """Scale and shift (T, 2) of the inverse depth, stiff over about ``_STIFF`` frames, that bring
    it to the anchors."""
    count = len(curve)
    inverse = curve[anchors.frame, 0] * d + curve[anchors.frame, 1]
    relative = anchors.z * unit
    row = np.tile(np.arange(len(d)), 2)
    values = np.concatenate([inverse * relative, relative * shift])
    rows = sparse.csr_array(
        sparse.coo_array(
            (values, (row, np.concatenate([2 * anchors.frame, 2 * anchors.frame + 1]))),
            shape=(len(d), 2 * count),
        )
    )
    none = np.tile([1.0, 0.0], count)
    slow = none
    for _ in range(5):
        off = rows @ slow - 1
        weight = 1 / (1 + (off / max(1.5 * float(np.median(np.abs(off))), 1e-6)) ** 2)
        stiff, little = weight.sum() / count * _STIFF**4, 1e-6 * weight.sum() / count
        normal = (
            rows.T @ sparse.diags_array(weight) @ rows
            + stiff * (smooth.T @ smooth)
            + little * sparse.eye_array(2 * count)
        )
        slow = spsolve(normal.tocsc(), rows.T @ weight + little * none)
    return np.asarray(slow, np.float64).reshape(-1, 2)


def _fit_robust_line(
    x: F64, y: F64, sloped: bool, about: tuple[float, float] | None = None
) -> tuple[float, float]:
    """s and b of y ≈ s x + b (``sloped``; else b is 0), by least squares reweighted with Cauchy's
    weights.

    ``about``: what s and b are as long as nothing else says otherwise.
    """
    A = np.stack([x, np.ones_like(x)], 1) if sloped else x[:, None]
    prior = np.array(about if about else (1.0, 0.0))[: A.shape[1]]
    weight = np.ones_like(x)
    line = prior
    for _ in range(10):
        little = (1e-4 if about else 1e-9) * weight.sum()
        normal = (A * weight[:, None]).T @ A + little * np.eye(len(prior))
        line = np.linalg.solve(normal, (A * weight[:, None]).T @ y + little * prior)
        off = np.abs(A @ line - y)
        weight = 1 / (1 + (off / (1.5 * float(np.median(off)) + 1e-9)) ** 2)
    return float(line[0]), float(line[1]) if sloped else 0.0


def _build_second_differences(rewound: Rewound) -> sparse.csr_array:
    """Of scale and shift along the tree; a frame at its end is tied to its parent."""
    entries: list[tuple[int, int, float]] = []
    row = 0
    for t, p in enumerate(rewound.parent):
        if p < 0:
            continue
        g = int(rewound.parent[p])
        for part in (0, 1):
            for frame, value in (
                ((g, 1.0), (int(p), -2.0), (t, 1.0)) if g >= 0 else ((int(p), -1e-2), (t, 1e-2))
            ):
                entries.append((row, 2 * frame + part, value))
            row += 1
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_array(
        sparse.coo_array(
            (np.array(values, float), (np.array(rows, int), np.array(columns, int))),
            shape=(row, 2 * len(rewound)),
        )
    )
