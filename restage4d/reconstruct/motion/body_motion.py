"""The subject as one rigid body: where it is in every frame, so that what is hidden can go along
with the rest."""

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound

F32 = NDArray[np.float32]
_ENOUGH = 12  # points in common, without which a frame has its neighbour's motion


def procrustes(
    source: F32, target: F32, weight: F32
) -> tuple[F32, F32]:  # (..., P, 3) x2, (..., P) -> (..., 3, 3), (..., 3)
    """Rigid motion that carries ``source`` to ``target`` with least weighted squared error (Kabsch,
    det = +1)."""
    w = (weight / np.maximum(weight.sum(-1, keepdims=True), 1e-9))[..., None]
    a, b = (w * source).sum(-2), (w * target).sum(-2)
    H = np.swapaxes(w * (source - a[..., None, :]), -1, -2) @ (target - b[..., None, :])
    U, _, Vt = np.linalg.svd(H)
    sign = np.ones(H.shape[:-1])
    sign[..., 2] = np.sign(np.linalg.det(U @ Vt))
    R = np.swapaxes(Vt, -1, -2) @ (sign[..., None] * np.swapaxes(U, -1, -2))
    return R.astype(np.float32), (b - np.einsum("...ij,...j->...i", R, a)).astype(np.float32)


def robust_procrustes(source: F32, target: F32, weight: F32, rounds: int = 3) -> tuple[F32, F32]:
    """`procrustes`, reweighted ``rounds`` times so that points which disagree with the others lose
    their weight."""
    R, t = procrustes(source, target, weight)
    for _ in range(rounds):
        moved = source @ np.swapaxes(R, -1, -2) + t[..., None, :]
        off = np.linalg.norm(moved - target, axis=-1)
        R, t = procrustes(source, target, weight / (1 + (off / (np.median(off) + 1e-6)) ** 2))
    return R, t


def estimate_body_motion(xyz: F32, visible: NDArray[np.bool_], rewound: Rewound) -> tuple[F32, F32]:
    """Rigid motion (T, 3, 3), (T, 3) of the whole subject from the frame that sees most points to
    every frame.

    Outwards from that frame, each is laid onto the mean of all that was seen so far, brought back
    to the first pose: nothing adds up as it would from frame to frame.

    Args:
        xyz: (P, T, 3) world points, right where ``visible``.
        visible: (P, T).
    """
    n = len(rewound)
    R, t = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)), np.zeros((n, 3), np.float32)
    total, count = np.zeros((len(xyz), 3)), np.zeros(len(xyz))
    start = int(visible.sum(0).argmax())
    for a, b in [(start, start), *rewound.outward(start)]:
        known = visible[:, b] & (count > 0)
        R[b], t[b] = R[a], t[a]
        if known.sum() >= _ENOUGH:
            mean = (total[known] / count[known, None]).astype(np.float32)
            R[b], t[b] = robust_procrustes(mean, xyz[known, b], np.ones(len(mean), np.float32))
        seen = visible[:, b]
        total[seen] += (xyz[seen, b] - t[b]) @ R[b]
        count[seen] += 1
    return R, t
