"""First guess of bases and coefficients: k-means on 3D motion, weighted Procrustes per cluster and
frame."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.reconstruct.motion.body_motion import robust_procrustes
from restage4d.reconstruct.motion.lifting import LiftedTracks
from restage4d.threads import map_on_cores

F32 = NDArray[np.float32]
_HIDDEN = 0.1  # trust in where a hidden point is, which goes along with the body
_NEAR, _FITTING = (
    0.5,
    2.0,
)  # how fast coefficients fall with the distance to a basis, and with how badly it fits
_WELL = 0.003  # of the extent; tracks that fit better than this are not distinguished
_ROUNDS = 4  # of finding where members are to one another and how they move
_MIN_MEMBERS = 12  # points that vote for one basis; fewer make its rotation shake ...
# ... and one in so many, however fine the bases: neighbours start with nearly one motion, not with
# their own noise
_VOTERS = 24


def kmeans(
    features: F32, k: int, rng: np.random.Generator, iterations: int = 30
) -> NDArray[np.int64]:  # (P, D) -> (P,)
    """Lloyd's k-means where k asked for is k got: k-means++ seeds, and an emptied cluster restarts
    at the worst-served point.

    With fewer points than k, labels are the points' own numbers.
    """
    n = len(features)
    if n <= k:
        return np.arange(n)
    centres = [features[rng.integers(n)]]
    nearest = ((features - centres[0]) ** 2).sum(1)
    for _ in range(k - 1):
        total = nearest.sum()
        pick = rng.choice(n, p=nearest / total) if total > 0 else rng.integers(n)
        centres.append(features[pick])
        nearest = np.minimum(nearest, ((features - centres[-1]) ** 2).sum(1))
    centre = np.stack(centres)
    labels = np.zeros(n, np.int64)
    for _ in range(iterations):
        distance, new = (np.asarray(a) for a in KDTree(centre).query(features))
        counts = np.bincount(new, minlength=k)
        for empty in np.flatnonzero(counts == 0):
            worst = int(np.where(counts[new] > 1, distance, -1).argmax())
            counts[new[worst]] -= 1
            new[worst], counts[empty], distance[worst] = empty, 1, 0
        if (new == labels).all():
            break
        labels = new
        for d in range(features.shape[1]):
            centre[:, d] = np.bincount(labels, features[:, d], k) / counts
    return labels


def initialise_bases(
    tracks: LiftedTracks, k: int, near_in_time: F32, rng: np.random.Generator
) -> tuple[F32, F32, F32]:  # near_in_time (T, T)
    """Bases (K, T, 9), coefficient logits (P, K) and canonical positions (P, 3).

    Clusters are found on whole trajectories (position and motion together). Each cluster's M_k(t)
    comes from at least `_MIN_MEMBERS` tracks and one in `_VOTERS` of all, robust against wrong ones
    and smoothed over time by ``near_in_time``, where frames that see more count for more. Logits
    fall with the distance to the cluster, relative to its spread, and with how badly its motion
    explains the track, relative to the motion that does so best and `_WELL`: no track starts as a
    mixture of motions that are not its own. Positions are in world units, where the subject's
    extent is about 1.
    """
    n_points, n_frames = tracks.visible.shape
    sample = np.unique(np.linspace(0, n_frames - 1, min(n_frames, 32)).astype(int))
    features = (tracks.xyz[:, sample] - tracks.xyz[:, sample].mean((0, 1))).reshape(n_points, -1)
    features = features / np.sqrt(len(sample))
    labels = kmeans(features, k, rng)
    centres = np.stack([features[labels == c].mean(0) for c in range(labels.max() + 1)])
    centres = centres[
        np.arange(k) % len(centres)
    ]  # fewer tracks than bases: centres repeat, separated by the fit
    trust = np.where(tracks.placed, tracks.confidence, _HIDDEN).astype(np.float32)
    members = min(max(_MIN_MEMBERS, n_points // _VOTERS, 4 * n_points // (3 * k)), n_points)
    distance, near = KDTree(features).query(centres, k=members)
    distance, near = distance.reshape(k, -1), near.reshape(k, -1)
    spread = np.sqrt((distance**2).mean(1)) + 1e-6

    def guess(c: int) -> F32:  # (T, 9)
        members = near[c]
        weight = (trust[members] * np.exp(-0.5 * (distance[c] / spread[c]) ** 2)[:, None]).T.astype(
            np.float32
        )
        R, t = fit_rigid_path(tracks.xyz[members].transpose(1, 0, 2), weight, tracks.canonical)
        share = near_in_time * weight.sum(1)
        smooth = (share / np.maximum(share.sum(1, keepdims=True), 1e-9)) @ se3.pack(R, t)
        return se3.pack(se3.gram_schmidt(smooth[:, :6]), smooth[:, 6:])

    bases = np.stack(map_on_cores(guess, range(k))).astype(np.float32)
    far = np.sqrt(np.maximum(((features[:, None] - centres[None]) ** 2).sum(-1), 0))  # (P, K)
    stray, rest = _fit_each_basis(bases, tracks.xyz, trust)
    logits = -0.5 * _NEAR * (far / spread) ** 2 - _FITTING * stray / (
        stray.min(1, keepdims=True) + _WELL
    )
    logits = np.maximum(logits - logits.max(1, keepdims=True), -10.0).astype(np.float32)
    coefs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return bases, logits, np.einsum("pk,pkd->pd", coefs, rest).astype(np.float32)


def fit_rigid_path(
    paths: F32, weight: F32, canonical: int
) -> tuple[F32, F32]:  # (T, m, 3), (T, m) -> (T, 3, 3), (T, 3)
    """Rigid motion R, t (world units) of a few points from the canonical frame to every one
    (generalised Procrustes, Gower 1975).

    Where the points are to one another and how they move are found in turns, so that no point need
    be seen in the canonical frame.
    """
    shape = paths[canonical]
    for _ in range(_ROUNDS):
        R, t = robust_procrustes(np.broadcast_to(shape, paths.shape), paths, weight)
        back = (paths - t[:, None]) @ R  # by the inverse
        off = np.linalg.norm(back - shape, axis=-1)
        sure = weight / (1 + (off / (np.median(off) + 1e-6)) ** 2)
        shape = (sure[..., None] * back).sum(0) / np.maximum(sure.sum(0), 1e-9)[:, None]
    turn = R @ R[canonical].T
    return turn, t - np.einsum("tij,j->ti", turn, t[canonical])


def _fit_each_basis(
    bases: F32, xyz: F32, trust: F32
) -> tuple[F32, F32]:  # (K, T, 9), (P, T, 3), (P, T)
    """For every track and basis: mean distance (P, K) of the track from a point that the basis
    alone carries, and that point's canonical place (P, K, 3), the geometric median of all frames'
    (Weiszfeld 1937)."""

    def fit(basis: F32) -> tuple[F32, F32]:
        shifted = (xyz - basis[:, 6:]).transpose(1, 0, 2)  # (T, P, 3)
        back = (shifted @ se3.gram_schmidt(basis[:, :6])).transpose(1, 0, 2)
        weight = trust
        for _ in range(3):
            place = (weight[..., None] * back).sum(1) / weight.sum(1)[:, None]
            off = np.linalg.norm(back - place[:, None], axis=-1)
            weight = trust / (1e-3 + off)
        return (trust * off).sum(1) / trust.sum(1), place

    stray, rest = zip(*map_on_cores(fit, bases), strict=True)
    return np.stack(stray, 1).astype(np.float32), np.stack(rest, 1).astype(np.float32)
