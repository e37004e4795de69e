"""Cameras that stand still or turn on the spot: found without structure, and distinguished from
cameras that travel."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.priors.cameras.focal import RATIOS, compute_pull

F64 = NDArray[np.float64]

# pixels at 384 of longer side; larger residuals are not background at rest and all count the same
_CAP = 2.0
_SOFT = 0.5  # pixels at 384: where a residual starts to lose its weight


def is_still(xy: F64, seam: int, frames: NDArray[np.intp], scale: float) -> bool:
    """Whether the camera stands still through ``frames`` (with ``seam`` among them), from tracks
    (P, T, 2; NaN = not seen).

    ``scale`` is the longer side over 384. Without enough background to tell, the answer is yes.
    """
    here = xy[:, frames]
    moved = np.linalg.norm(here - xy[:, seam, None], axis=-1)
    count = np.isfinite(moved).sum(0)
    judged = (count >= 12) & (frames != seam)
    if judged.sum() < 0.5 * (len(frames) - 1):  # too little survives: judge by the steps instead
        moved = np.linalg.norm(np.diff(here, axis=1), axis=-1)
        judged = np.isfinite(moved).sum(0) >= 12
        return not judged.any() or bool(
            (np.nanmedian(moved[:, judged], axis=0) < 0.1 * scale).mean() > 0.95
        )
    spread = np.nanpercentile(moved[:, judged], [50, 75], axis=0)
    still = (spread[0] < 0.4 * scale) & (spread[1] < 1.0 * scale)
    return bool(still.mean() > 0.95)


def unproject(xy: F64, size: tuple[int, int], focal: float) -> F64:  # (..., 2) -> (..., 3)
    """Unit directions of pixels in camera axes; 0 where not finite."""
    flat = (xy - np.array(size) / 2) / focal
    three = np.concatenate([flat, np.ones((*xy.shape[:-1], 1))], -1)
    return np.nan_to_num(three / np.linalg.norm(three, axis=-1, keepdims=True), nan=0.0)


def fit_rotation(a: F64, b: F64, soft: float) -> F64:  # (N, 3), (N, 3) unit -> (3, 3)
    """The rotation that carries directions ``a`` to ``b``, robust: residuals beyond ``soft``
    radians fade out."""
    weight = np.ones(len(a))
    R = np.eye(3)
    for _ in range(10):
        u, _, vt = np.linalg.svd((b * weight[:, None]).T @ a)
        R = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        weight = 1 / (1 + ((b - a @ R.T) ** 2).sum(1) / soft**2) ** 2
    return R


def fit_rotations(
    xy: F64, parent: Sequence[int], size: tuple[int, int], focal: float, steps: int
) -> tuple[F64, F64]:
    """Cameras that only turn, fitted to all tracks at once (Gauss-Newton over rotations and
    directions, Geman-McClure weights).

    Args:
        xy: (P, T, 2) tracks, NaN where not seen.
        parent: the frame from which each frame's rotation starts, -1 for the first; before its
            children.

    Returns:
        R_cam_world (T, 3, 3) with the first frame's as identity, and residuals (P, T) in pixels,
        NaN where not seen.
    """
    seen = np.isfinite(xy[..., 0])
    scale = max(size) / 384
    soft = _SOFT * scale / focal
    directions = unproject(xy, size, focal)
    R = np.tile(np.eye(3), (xy.shape[1], 1, 1))
    for t, p in enumerate(parent):
        if p >= 0:
            both = seen[:, t] & seen[:, p]
            R[t] = (
                fit_rotation(directions[both, p], directions[both, t], soft)
                if both.sum() >= 4
                else np.eye(3)
            ) @ R[p]

    def average_directions(weight: F64) -> tuple[F64, F64]:
        world = np.einsum("tji,ptj->pti", R, directions)
        mean = np.einsum("pt,pti->pi", weight, world)
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        return mean, np.where(seen[..., None], world - mean[:, None], 0.0)

    weight = seen.astype(float)
    for _ in range(steps):
        mean, error = average_directions(weight)
        weight = np.where(seen, 1 / (1 + (error**2).sum(-1) / soft**2) ** 2, 0.0)
        total = np.maximum(weight.sum(1), 1e-9)
        mean, error = average_directions(weight)
        error -= np.einsum("pt,pti->pi", weight / total[:, None], error)[:, None]
        gradient = np.einsum("pt,pti->ti", weight, np.cross(mean[:, None], error))
        plane = np.eye(3) - mean[:, :, None] * mean[:, None, :]
        hessian = np.zeros((len(R), 3, len(R), 3))
        every = np.arange(len(R))
        hessian[every, :, every, :] = np.einsum("pt,pij->tij", weight, plane)
        for i in range(3):
            for j in range(3):  # directions eliminated (Schur complement)
                hessian[:, i, :, j] -= (weight * (plane[:, i, j] / total)[:, None]).T @ weight
        hessian = hessian.reshape(3 * len(R), -1)
        hessian += np.eye(len(hessian)) * 1e-9 * np.trace(hessian)
        step = np.linalg.solve(hessian, gradient.ravel()).reshape(-1, 3)
        R = R @ np.stack([cv2.Rodrigues(s)[0] for s in step])
        if np.abs(step).max() * focal < 0.005 * scale:
            break
    mean, _ = average_directions(weight)
    ahead = np.einsum("tij,pj->pti", R, mean)
    image = focal * ahead[..., :2] / np.maximum(ahead[..., 2:], 1e-6) + np.array(size) / 2
    return R @ R[0].T, np.linalg.norm(image - xy, axis=-1)


def search_focal(xy: F64, parent: Sequence[int], size: tuple[int, int], guess: float) -> float:
    """The focal length in pixels with which a turning camera explains the tracks best, within
    `focal.RATIOS`."""

    def score(focal: float) -> float:
        residual = fit_rotations(xy, parent, size, focal, 8)[1]
        known = residual[np.isfinite(residual)]
        if not len(known):
            return 0.0
        return float(
            np.log((np.minimum(known / (max(size) / 384), _CAP) ** 2).mean() + 1e-4)
        ) + compute_pull(focal, guess)

    grid = np.geomspace(*RATIOS, 10) * max(size)
    scores = np.array([score(f) for f in grid])
    best = int(scores.argmin())
    if 0 < best < len(grid) - 1:
        a, b, c = scores[best - 1 : best + 2]
        if a + c - 2 * b > 1e-9:
            step = 0.5 * (a - c) / (a + c - 2 * b)
            return float(grid[best] * (grid[1] / grid[0]) ** step)
    return float(grid[best])


def check_rotation(
    xy: F64, pairs: Sequence[tuple[int, int]], size: tuple[int, int], focal: float
) -> tuple[bool, float]:
    """Whether the camera turns on the spot: a rotation explains nearly what any homography
    explains, between frames far apart.

    A travelling camera's homography (of a dominant plane) is no rotation, and a turning camera's is
    one; what moves by itself fits neither, so it does not count. Returns the answer and the share.
    """
    scale = max(size) / 384
    by_turn = by_any = 0
    cv2.setRNGSeed(0)
    for i, j in pairs:
        both = np.isfinite(xy[:, i, 0]) & np.isfinite(xy[:, j, 0])
        a, b = xy[both, i], xy[both, j]
        if len(a) < 30 or np.median(np.linalg.norm(a - b, axis=1)) < 2.0 * scale:
            continue
        R = fit_rotation(
            unproject(a, size, focal), unproject(b, size, focal), _SOFT * scale / focal
        )
        ahead = unproject(a, size, focal) @ R.T
        image = focal * ahead[:, :2] / np.maximum(ahead[:, 2:], 1e-6) + np.array(size) / 2
        by_turn += int((np.linalg.norm(image - b, axis=1) < scale).sum())
        found = cv2.findHomography(a, b, cv2.RANSAC, scale)[1]
        by_any += int(found.sum()) if found is not None else 0
    share = by_turn / by_any if by_any else 1.0
    return share > 0.85, share
