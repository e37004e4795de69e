# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigid motions in time: of a body's bases between frames, blended, and of the body as a whole.
numpy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from restage4d import se3
from restage4d.puppet import F32, Performance
from restage4d.se3 import Array

from .. import bone_curves, regions


@dataclass(frozen=True)
class Body:
    """The points that bases move.

    Attributes:
        means, index, weight: (N, 3), (N, M), (N, M) as in `restage4d.puppet.Puppet`.
        total: (K,) sum of the coefficients of each basis.
        centre: (K, 3) weighted mean of its canonical points; the body's middle for an idle one.
    """

    means: Array
    index: NDArray[np.integer]
    weight: Array
    total: Array
    centre: Array

    @property
    def middle(self) -> Array:  # (3,)
        return np.average(self.centre, axis=0, weights=np.maximum(self.total, 1e-12))


def make_body(means: F32, index: NDArray[np.integer], weight: F32, k: int) -> Body:
    """The body of ``k`` bases."""
    share = spread_weights(index, weight, k)
    total = share.sum(0)
    centre = (share.T @ means.astype(np.float64)) / np.maximum(total, 1e-9)[:, None]
    idle = total < 1e-9
    return Body(means, index, weight, total, np.where(idle[:, None], means.mean(0), centre))


def spread_weights(index: NDArray[np.integer], weight: Array, k: int) -> Array:  # -> (N, K)
    """Influences as a dense matrix of coefficients."""
    out = np.zeros((len(index), k))
    rows = np.arange(len(index))
    for j in range(index.shape[1]):
        out[rows, index[:, j]] += weight[:, j]
    return out


def to_matrices(bases: Array) -> Array:  # (..., 9) -> (..., 4, 4)
    """Bases as rigid motions."""
    out = np.zeros((*bases.shape[:-1], 4, 4))
    out[..., :3, :3] = se3.gram_schmidt(bases[..., :6].astype(np.float64))
    out[..., :3, 3], out[..., 3, 3] = bases[..., 6:], 1
    return out


def to_bases(motion: Array) -> F32:  # (..., 4, 4) -> (..., 9)
    """Rigid motions as bases."""
    return se3.pack(motion[..., :3, :3], motion[..., :3, 3]).astype(np.float32)


def blend(a: Array, b: Array, share: Array, about: Array) -> Array:
    """From the rigid motions ``a`` (..., 4, 4) to ``b`` by ``share`` (...): the rotation the short
    way round, and the places where they take ``about`` (..., 3) in a straight line."""
    share = np.asarray(share, np.float64)[..., None]
    turn = se3.quat_to_matrix(
        slerp(se3.matrix_to_quat(a[..., :3, :3]), se3.matrix_to_quat(b[..., :3, :3]), share)
    )
    places = [np.einsum("...ij,...j->...i", m[..., :3, :3], about) + m[..., :3, 3] for m in (a, b)]
    out = np.zeros(np.broadcast_shapes(a.shape, b.shape))
    out[..., :3, :3], out[..., 3, 3] = turn, 1
    place = places[0] + share * (places[1] - places[0])
    out[..., :3, 3] = place - np.einsum("...ij,...j->...i", turn, about)
    return out


def slerp(a: Array, b: Array, share: Array) -> Array:  # (..., 4), (..., 4), (..., 1) -> (..., 4)
    """From quaternion ``a`` to ``b`` the short way round."""
    cosine = (a * b).sum(-1, keepdims=True)
    b, cosine = np.where(cosine < 0, -b, b), np.minimum(np.abs(cosine), 1.0)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    near = sine < 1e-6
    safe = np.where(near, 1.0, sine)
    first = np.where(near, 1 - share, np.sin((1 - share) * angle) / safe)
    second = np.where(near, share, np.sin(share * angle) / safe)
    out = first * a + second * b
    return out / np.linalg.norm(out, axis=-1, keepdims=True)


def smoothstep(x: Array) -> Array:
    """From 0 to 1, level at both ends."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def sample(performance: Performance, times: ArrayLike, body: Body) -> Performance:
    """The performance at frames ``times`` (T',), which may lie between its own; ends are held."""
    last = performance.n_frames - 1
    times = np.clip(np.asarray(times, np.float64), 0, last)
    low = np.minimum(np.floor(times).astype(int), last)
    high, share = np.minimum(low + 1, last), times - low
    whole = share == 0
    motion = to_matrices(performance.bases)
    bases = to_bases(blend(motion[:, low], motion[:, high], share, body.centre[:, None]))
    bases[:, whole] = performance.bases[:, low[whole]]
    K, w2c = sample_camera(performance, low, high, share)
    return replace_frames(performance, bases, K, w2c)


def sample_camera(
    performance: Performance, low: NDArray[np.intp], high: NDArray[np.intp], share: Array
) -> tuple[F32, F32]:  # (T', 3, 3), (T', 4, 4)
    """K and w2c between frames ``low`` and ``high``."""
    K, w2c = performance.K, performance.w2c
    return blend_cameras((K[low], w2c[low]), (K[high], w2c[high]), share)


def blend_cameras(
    a: tuple[F32, F32], b: tuple[F32, F32], share: Array
) -> tuple[F32, F32]:  # (T, 3, 3), (T, 4, 4)
    """From one camera's K and w2c to another's; a camera that stands still does so to the bit."""
    K = a[0] + share[:, None, None] * (b[0] - a[0])
    here, there = (bone_curves.inverse(w.astype(np.float64)) for w in (a[1], b[1]))
    w2c = bone_curves.inverse(blend(here, there, share, np.zeros(3)))
    same = (a[1] == b[1]).all((1, 2)) | (share == 0)
    return K.astype(np.float32), np.where(same[:, None, None], a[1], w2c).astype(np.float32)


def replace_frames(performance: Performance, bases: F32, K: F32, w2c: F32) -> Performance:
    """The same performance with other frames."""
    p = performance
    return Performance(p.name, np.ascontiguousarray(bases), p.fps, K, w2c, p.size, p.prompt)


def measure_root(bases: F32, body: Body) -> Array:  # (K, T, 9) -> (T, 4, 4)
    """The motion of the body as a whole."""
    return regions.mean_motion(bases, body.total, body.centre, body.middle)


def fit_rigid(a: Array, b: Array, weight: Array) -> Array:  # (T, N, 3) x2, (N,) -> (T, 4, 4)
    """The rigid motions that bring points ``a`` nearest to ``b`` (weighted least squares)."""
    share = weight / weight.sum()
    mean_a, mean_b = np.einsum("n,tni->ti", share, a), np.einsum("n,tni->ti", share, b)
    cross = np.einsum("n,tni,tnj->tij", share, b - mean_b[:, None], a - mean_a[:, None])
    U, _, Vt = np.linalg.svd(cross)
    U[:, :, 2] *= np.sign(np.linalg.det(U @ Vt))[:, None]
    out = np.tile(np.eye(4), (len(a), 1, 1))
    out[:, :3, :3] = U @ Vt
    out[:, :3, 3] = mean_b - np.einsum("tij,tj->ti", out[:, :3, :3], mean_a)
    return out


def pose_points(bases: Array, body: Body, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
    """The body's points (or ``rows``) as Eq. 1 moves them: (T, N, 3)."""
    R, t = se3.blend(bases.astype(np.float64), body.index[rows], body.weight[rows])
    return np.swapaxes(se3.transform(R, t, body.means[rows].astype(np.float64)), 0, 1)
