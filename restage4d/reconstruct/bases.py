"""First guess of bases and coefficients: k-means on 3D motion, weighted Procrustes per cluster and frame."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.reconstruct.body import robust_procrustes
from restage4d.reconstruct.lift import LiftedTracks

F32 = NDArray[np.float32]
_HIDDEN = 0.2  # trust in where a hidden point is, which goes along with the body
_SHARP = 3.0  # how fast coefficients fall with distance; softer ones mix more bases than pruning will leave
_MIN_MEMBERS = 12  # points that vote for one basis; fewer make its rotation shake


def kmeans(features: F32, k: int, rng: np.random.Generator, iterations: int = 30) -> NDArray[np.int64]:  # (P, D) -> (P,)
    """Lloyd's k-means where k asked for is k got: k-means++ seeds, and an emptied cluster restarts at the worst-served point.

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


def initial_bases(
    tracks: LiftedTracks, k: int, near_in_time: F32, rng: np.random.Generator
) -> tuple[F32, F32]:  # near_in_time (T, T)
    """Bases (K, T, 9) and coefficient logits (P, K).

    Clusters are found on whole trajectories (position and motion together), each cluster's M_k(t) by Procrustes over at
    least `_MIN_MEMBERS` tracks, robust against wrong ones and smoothed over time by ``near_in_time``, where frames that see
    more count for more. Logits fall with the distance to the cluster relative to the cluster's own spread, so that nothing
    depends on the scene's scale.
    """
    n_points, n_frames = tracks.visible.shape
    sample = np.unique(np.linspace(0, n_frames - 1, min(n_frames, 32)).astype(int))
    features = (tracks.xyz[:, sample] - tracks.xyz[:, sample].mean((0, 1))).reshape(n_points, -1)
    features = features / np.sqrt(len(sample))
    labels = kmeans(features, k, rng)
    centres = np.stack([features[labels == c].mean(0) for c in range(labels.max() + 1)])
    centres = centres[np.arange(k) % len(centres)]  # fewer tracks than bases: centres repeat, told apart by the fit
    canonical = tracks.xyz[:, tracks.canonical]
    trust = np.where(tracks.visible, tracks.confidence, _HIDDEN).astype(np.float32)
    trust = trust * trust[:, tracks.canonical, None] ** 0.25
    distance, near = KDTree(features).query(centres, k=min(max(_MIN_MEMBERS, 4 * n_points // (3 * k)), n_points))
    distance, near = distance.reshape(k, -1), near.reshape(k, -1)
    spread = np.sqrt((distance**2).mean(1)) + 1e-6
    bases = np.empty((k, n_frames, 9), np.float32)
    for c in range(k):
        members = near[c]
        weight = trust[members] * np.exp(-0.5 * (distance[c] / spread[c]) ** 2)[:, None]
        source = np.broadcast_to(canonical[members], (n_frames, len(members), 3))
        target = tracks.xyz[members].transpose(1, 0, 2)
        R, t = robust_procrustes(source, target, weight.T)
        share = near_in_time * weight.sum(0)
        smooth = (share / np.maximum(share.sum(1, keepdims=True), 1e-9)) @ se3.pack(R, t)
        bases[c] = se3.pack(se3.gram_schmidt(smooth[:, :6]), smooth[:, 6:])
    far = np.sqrt(np.maximum(((features[:, None] - centres[None]) ** 2).sum(-1), 0))  # (P, K)
    logits = -0.5 * _SHARP * (far / spread) ** 2
    logits -= logits.max(1, keepdims=True)
    return bases, np.maximum(logits, -10.0).astype(np.float32)
