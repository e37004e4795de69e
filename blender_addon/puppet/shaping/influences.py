# SPDX-License-Identifier: GPL-3.0-or-later
"""Influences of points worked out anew: taken from neighbours, given to bones, changed by what was
painted on a mesh."""

import numpy as np
from mathutils.kdtree import KDTree
from numpy.typing import NDArray

from restage4d.puppet import F32
from restage4d.se3 import Array

Rows = NDArray[np.intp]
_PAINTED = 1e-3  # a weight that changed by less was not painted
_SURROUNDING = 4  # vertices of a mesh that a point takes its change from
_NEAR = 8  # neighbours that a point is like


def find_nearest(
    places: Array, among: Array, count: int
) -> tuple[Rows, Array]:  # (Q, 3), (N, 3) -> (Q, count), (Q, count)
    """Rows and distances of the nearest; fewer than ``count`` where there are not so many."""
    tree = KDTree(len(among))
    for i, place in enumerate(among.tolist()):
        tree.insert(place, i)
    tree.balance()
    found = [tree.find_n(place, min(count, len(among))) for place in places.tolist()]
    rows = np.array([[i for _, i, _ in one] for one in found], np.intp)
    far = np.array([[d for *_, d in one] for one in found], np.float64)
    return rows, far


def spread(index: NDArray[np.integer], weight: Array, count: int) -> Array:  # -> (N, K)
    """Influences (N, M) as dense coefficients."""
    out = np.zeros((len(index), count))
    for j in range(index.shape[1]):
        out[np.arange(len(index)), index[:, j]] += weight[:, j]
    return out


def gather(coefs: Array, most: int) -> tuple[NDArray[np.uint16], F32]:  # (N, K) -> (N, most) twice
    """The largest of each row, summing to 1."""
    index = np.argsort(-coefs, axis=1, kind="stable")[:, :most]
    weight = np.take_along_axis(coefs, index, 1)
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-12)
    return index.astype(np.uint16), weight.astype(np.float32)


def take_from_points(places: Array, means: Array, coefs: Array) -> Array:  # (V, 3) -> (V, K)
    """Coefficients of places: the mean of the nearest points', the nearer the more."""
    near, far = find_nearest(places, means, _NEAR)
    share = 1 / (far + 1e-3 * float(np.ptp(means, axis=0).max()) + 1e-12)
    share /= share.sum(1, keepdims=True)
    return np.einsum("vn,vnk->vk", share, coefs[near])


def carry_painting(
    means: Array, coefs: Array, places: Array, before: Array, painted: Array
) -> tuple[Array, NDArray[np.bool_]]:  # -> (N, K), (N,)
    """Points' coefficients after a mesh's were painted: each point changes as the vertices around
    it did; which points changed.

    Args:
        means, coefs: (N, 3) and (N, K) of the points.
        places: (V, 3) the mesh's vertices.
        before, painted: (V, K) their coefficients.
    """
    change = painted - before
    change[np.abs(change).max(1) < _PAINTED] = 0
    touched = np.flatnonzero(change.any(1))
    new, changed = coefs.copy(), np.zeros(len(means), bool)
    if not len(touched):
        return new, changed
    near, far = find_nearest(means, places, _SURROUNDING)
    mine = np.flatnonzero(np.isin(near, touched).any(1))
    share = 1 / (far[mine] + 1e-9)
    share /= share.sum(1, keepdims=True)
    moved = np.maximum(coefs[mine] + np.einsum("pn,pnk->pk", share, change[near[mine]]), 0)
    moved /= np.maximum(moved.sum(1, keepdims=True), 1e-12)
    changed[mine] = np.abs(moved - coefs[mine]).max(1) >= _PAINTED
    new[changed] = moved[changed[mine]]
    return new, changed


def give_to_bases(
    means: Array, coefs: Array, chosen: Rows, bases: NDArray[np.bool_], smooth: float
) -> Array:  # -> (C, K)
    """Coefficients of chosen points that shall follow some bases.

    One basis takes them whole. Of several, each point takes what the nearest points that follow
    these bases have. Within ``smooth`` (world units) of points that were not chosen they go over
    into what they were.
    """
    rest = np.ones(len(means), bool)
    rest[chosen] = False
    own = coefs[chosen]
    wanted = np.zeros_like(own)
    if bases.sum() == 1:
        wanted[:, bases] = 1.0
    else:
        followers = np.flatnonzero(rest & (coefs[:, bases].sum(1) > 0.5))
        model = np.where(bases, coefs[followers], 0) if len(followers) else None
        if model is None:
            wanted[:, bases] = 1 / bases.sum()
        else:
            wanted = take_from_points(means[chosen], means[followers], model)
            wanted /= np.maximum(wanted.sum(1, keepdims=True), 1e-12)
    share = np.ones(len(chosen))
    if smooth > 0 and rest.any():
        _, far = find_nearest(means[chosen], means[rest], 1)
        s = np.clip(far[:, 0] / smooth, 0, 1)
        share = s * s * (3 - 2 * s)
    return share[:, None] * wanted + (1 - share[:, None]) * own


def find_fringe(
    means: Array, opacities: Array, *, faint: float, loose: float
) -> NDArray[np.bool_]:  # -> (N,)
    """Faint points that stand off from the others: fainter than ``faint``, and further than
    ``loose`` from the middle of their neighbours (weighted by opacity), in the body's median
    distance between neighbours."""
    if len(means) < _NEAR + 1:
        return np.zeros(len(means), bool)
    near, far = find_nearest(means, means, _NEAR + 1)
    near, far = near[:, 1:], far[:, 1:]
    spacing = float(np.median(far[:, : _NEAR // 2].mean(1)))
    weight = opacities[near][..., None]
    middle = (weight * means[near]).sum(1) / np.maximum(weight.sum(1), 1e-9)
    off = np.linalg.norm(means - middle, axis=1) / max(spacing, 1e-12)
    return (opacities < faint) & (off > loose)
