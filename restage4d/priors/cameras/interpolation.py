"""Poses for frames that have none, from their neighbours in the tree of frames."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

F64 = NDArray[np.float64]


def interpolate_poses(w2c: F64, parent: NDArray[np.int32]) -> None:  # (T, 4, 4), (T,)
    """Gives every frame without a pose (NaN) one, in place: between the nearest known ones up and
    down the tree."""
    known = np.isfinite(w2c[:, 0, 0])
    if not known.any():
        w2c[:] = np.eye(4)
        return
    count = len(parent)
    up, below = np.full(count, -1), np.full(count, -1)
    up_steps, below_steps = np.zeros(count), np.full(count, np.inf)
    for t, p in enumerate(parent):
        if known[t]:
            up[t], up_steps[t] = t, 0
        elif p >= 0:
            up[t], up_steps[t] = up[p], up_steps[p] + 1
    for t in range(count - 1, -1, -1):
        if known[t]:
            below[t], below_steps[t] = t, 0
        p = parent[t]
        if p >= 0 and below[t] >= 0 and below_steps[t] + 1 < below_steps[p]:
            below[p], below_steps[p] = below[t], below_steps[t] + 1
    poses = w2c.copy()
    for t in np.flatnonzero(~known):
        a, b = up[t], below[t]
        if a < 0 and b < 0:  # a branch without any pose below a root without one
            a = b = int(np.flatnonzero(known)[np.abs(np.flatnonzero(known) - t).argmin()])
        elif a < 0 or b < 0:
            a = b = max(a, b)
        share = 0.0 if a == b else up_steps[t] / (up_steps[t] + below_steps[t])
        turns = Rotation.from_matrix(poses[[a, b], :3, :3])
        R = Slerp([0, 1], turns)(share).as_matrix()
        centres = -np.einsum("tji,tj->ti", poses[[a, b], :3, :3], poses[[a, b], :3, 3])
        w2c[t] = np.eye(4)
        w2c[t, :3, :3] = R
        w2c[t, :3, 3] = -R @ (centres[0] + share * (centres[1] - centres[0]))
