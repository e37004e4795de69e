"""Points carried by a puppet against the truth: 3D error with alignments, TAPVid-3D's figures, and
PCK of 2D joints."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.errors import FitError
from restage4d.puppet import Performance, Puppet

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
SOLID = 0.1  # opacity from which a Gaussian counts as part of the subject
PIXELS = (1, 2, 4, 8, 16)  # TAPVid-3D's thresholds


def compute_gaussian_paths(puppet: Puppet, performance: Performance) -> F32:  # (N', T, 3)
    """Means of all solid Gaussians of the subject in the world at all frames."""
    solid = puppet.subject.opacities >= SOLID
    return follow(
        performance, puppet.index[solid], puppet.weight[solid], puppet.subject.means[solid]
    )


def carry(
    puppet: Puppet, performance: Performance, points: F32, frame: int
) -> F32:  # (P, 3) -> (P, T, 3)
    """Where the puppet carries world points of ``frame``: each moves with the solid Gaussian
    nearest to it there (Eq. 1, 8)."""
    solid = np.flatnonzero(puppet.subject.opacities >= SOLID)
    if len(solid) == 0:
        raise FitError("The puppet has no solid Gaussian to carry a point.")
    here = puppet.pose(performance, frame).means[solid]
    nearest = solid[KDTree(here).query(points)[1]]
    index, weight = puppet.index[nearest], puppet.weight[nearest]
    R, t = se3.blend(performance.bases[:, frame], index, weight)
    return follow(performance, index, weight, se3.inverse_transform(R, t, points))


def follow(performance: Performance, index: NDArray[np.uint16], weight: F32, canonical: F32) -> F32:
    """Canonical points (P, 3) with influences (P, M) in the world at all frames: (P, T, 3)."""
    paths = [
        se3.transform(*se3.blend(performance.bases[:, t], index, weight), canonical)
        for t in range(performance.n_frames)
    ]
    return np.stack(paths, 1).astype(np.float32)


def fit_similarity(source: F64, target: F64) -> tuple[float, F64, F64]:  # (N, 3) x2
    """Scale s, rotation R and shift t with least squares of ``s R x + t - y`` (Umeyama 1991)."""
    a, b = source.mean(0), target.mean(0)
    x, y = source - a, target - b
    U, S, Vt = np.linalg.svd(y.T @ x / len(x))
    sign = np.array([1, 1, np.sign(np.linalg.det(U @ Vt))])
    R = U * sign @ Vt
    s = float((S * sign).sum() / max((x**2).sum() / len(x), 1e-12))
    return s, R, b - s * R @ a


def align(
    paths: F32, truth: F32, how: str, w2c: F32
) -> F64:  # (P, T, 3) x2, (T, 4, 4) -> (P, T, 3)
    """Paths brought to the truth's world: "none"; "median", one scale about every camera by the
    ratio of median distances (TAPVid-3D); "sim3", one similarity over all points and frames."""
    p, q = paths.astype(np.float64), truth.astype(np.float64)
    if how == "none":
        return p
    if how == "sim3":
        s, R, t = fit_similarity(p.reshape(-1, 3), q.reshape(-1, 3))
        return s * p @ R.T + t
    eye = -np.einsum("tji,tj->ti", w2c[:, :3, :3], w2c[:, :3, 3]).astype(np.float64)
    scale = np.median(np.linalg.norm(q - eye, axis=-1)) / np.median(
        np.linalg.norm(p - eye, axis=-1)
    )
    return eye + scale * (p - eye)


def l1(paths: NDArray, truth: F32, where: Bool | None = None) -> float:  # (P, T, 3) x2, (P, T)
    """Mean absolute error over coordinates, points and frames; nan where ``where`` has none."""
    error = np.abs(paths - truth)
    values = error if where is None else error[where]
    return float(values.mean()) if values.size else float("nan")


def tapvid3d(
    paths: NDArray, seen: Bool, truth: F32, visible: Bool, K: F32, w2c: F32
) -> dict[str, float]:
    """TAPVid-3D's figures over frames that are not the query's.

    Args:
        paths, truth: (P, T, 3) world positions.
        seen, visible: (P, T) predicted and true visibility.
        K, w2c: (T, 3, 3), (T, 4, 4) true cameras: a threshold of n pixels is n · depth /
            sqrt(fx·fy) in the world.

    Returns:
        "3d_aj", "apd" and "oa", each in 0..1.
    """
    depth = np.einsum("ti,pti->pt", w2c[:, 2, :3], truth) + w2c[:, 2, 3]
    unit = depth / np.sqrt(K[:, 0, 0] * K[:, 1, 1])
    error = np.linalg.norm(paths - truth, axis=-1)
    jaccard, within = [], []
    for n in PIXELS:
        near = error < n * unit
        hit = near & visible & seen
        wrong = seen & ~(near & visible)
        jaccard.append(hit.sum() / max(visible.sum() + wrong.sum(), 1))
        within.append((near & visible).sum() / max(visible.sum(), 1))
    return {
        "3d_aj": float(np.mean(jaccard)),
        "apd": float(np.mean(within)),
        "oa": float((seen == visible).mean()),
    }


def pck(found: NDArray, truth: NDArray, annotated: Bool, size: NDArray, share: float) -> float:
    """Share of annotated joints (F, J) whose 2D error is below ``share`` times ``size`` (F,); found
    and truth (F, J, 2)."""
    near = np.linalg.norm(found - truth, axis=-1) < share * np.asarray(size)[:, None]
    return float(near[annotated].mean()) if annotated.any() else float("nan")
