# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions of a puppet: bases that move the same points, found by clustering the coefficients. numpy
only, no randomness."""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.puppet import Performance, Puppet
from restage4d.se3 import Array

FEWEST, MOST = 6, 12  # regions, where there are as many bases
_SURE = 0.25  # below this a region's mean rotation is no direction at all
_UP = ("top", "middle", "bottom")
_ACROSS = ("left", "", "right")


@dataclass
class Regions:
    """Where the bases' points are, and which bases belong together.

    Attributes:
        of_basis: (K,) region of each basis, 0..R-1.
        names: R names by place as the first frame's camera sees it ("top left"), each different.
        colors: (R, 3) sRGB.
        total: (K,) sum of the coefficients of each basis; 0 for one that moves nothing.
        centre, spread: (K, 3), (K,) weighted mean and root mean square distance of a basis'
            canonical points.
        middle, reach: (R, 3), (R,) the same of each region.
    """

    of_basis: NDArray[np.intp]
    names: list[str]
    colors: Array
    total: Array
    centre: Array
    spread: Array
    middle: Array
    reach: Array


def find_regions(puppet: Puppet) -> Regions:
    """Regions of a puppet; the same puppet gives the same ones."""
    k = puppet.n_bases
    total, centre, square = compute_moments(puppet)
    of_basis = cluster(puppet.index, puppet.weight, k)
    idle = total < 1e-9
    if idle.any() and not idle.all():  # what moves nothing goes with the nearest that does
        away = np.linalg.norm(centre[idle, None] - centre[None, ~idle], axis=-1)
        of_basis[idle] = of_basis[~idle][away.argmin(1)]
    of_basis = np.unique(of_basis, return_inverse=True)[1]
    count = of_basis.max() + 1
    share = np.maximum(total, 1e-12)
    mass = np.bincount(of_basis, share, count)
    middle = (
        np.stack([np.bincount(of_basis, share * centre[:, i], count) for i in range(3)], 1)
        / mass[:, None]
    )
    reach = (
        np.bincount(of_basis, share * (square + ((centre - middle[of_basis]) ** 2).sum(1)), count)
        / mass
    )
    order = np.argsort(
        _project_regions(puppet.performances[0], of_basis, middle)[:, 2], kind="stable"
    )  # nearest first
    of_basis, middle, reach = np.argsort(order)[of_basis], middle[order], reach[order]
    return Regions(
        of_basis=of_basis,
        names=_name_regions(_project_regions(puppet.performances[0], of_basis, middle)),
        colors=np.array([colorsys.hsv_to_rgb(i / count, 0.75, 1.0) for i in range(count)]),
        total=total,
        centre=centre,
        spread=np.sqrt(square),
        middle=middle,
        reach=np.sqrt(reach),
    )


def cluster(
    index: NDArray[np.integer], weight: Array, n_bases: int
) -> NDArray[np.intp]:  # (N, M), (N, M) -> (K,)
    """Which bases move the same points: spectral clustering of the coefficients' cosine similarity
    (Ng et al. 2001).

    The number of regions is where the eigenvalues fall most, between `FEWEST` and `MOST`. k-means
    starts at the basis with most in common with others and then at the farthest from all chosen, so
    that nothing is left to chance.
    """
    common = np.zeros(n_bases * n_bases)
    for i in range(index.shape[1]):
        for j in range(index.shape[1]):
            pair = index[:, i].astype(np.int64) * n_bases + index[:, j]
            common += np.bincount(pair, weight[:, i] * weight[:, j], minlength=len(common))
    common = common.reshape(n_bases, n_bases)
    norm = np.sqrt(np.maximum(common.diagonal(), 1e-12))
    similar = common / norm / norm[:, None]
    similar[np.diag_indices(n_bases)] = 1.0
    degree = similar.sum(1)
    values, vectors = np.linalg.eigh(similar / np.sqrt(degree) / np.sqrt(degree)[:, None])
    values, vectors = np.append(values[::-1], 0.0), vectors[:, ::-1]
    fewest, most = min(FEWEST, n_bases), min(MOST, n_bases)
    fall = values[:-1] - values[1:]
    count = fewest + int(fall[fewest - 1 : most].argmax())
    place = vectors[:, :count]
    place = place / np.maximum(np.linalg.norm(place, axis=1, keepdims=True), 1e-12)
    chosen = [int(degree.argmax())]
    while len(chosen) < count:
        near = ((place[:, None] - place[chosen]) ** 2).sum(-1).min(1)
        chosen.append(int(near.argmax()))
    centres = place[chosen]
    label = np.zeros(n_bases, np.intp)
    for _ in range(100):
        new = ((place[:, None] - centres) ** 2).sum(-1).argmin(1)
        if (new == label).all() and _:
            break
        label = new
        for r in np.unique(label):
            centres[r] = place[label == r].mean(0)
    return label


def of_points(
    index: NDArray[np.integer], weight: Array, of_basis: NDArray[np.integer]
) -> NDArray[np.intp]:  # -> (N,)
    """The region that moves each point most."""
    count = int(of_basis.max()) + 1
    rows = np.arange(len(index))
    share = np.zeros((len(index), count), np.float32)
    for j in range(index.shape[1]):
        share[rows, of_basis[index[:, j]]] += weight[:, j]
    return share.argmax(1)


def mean_motion(
    bases: Array, total: Array, centre: Array, middle: Array
) -> Array:  # (K, T, 9), (K,), (K, 3), (3,) -> (T, 4, 4)
    """The rigid motion that follows a group of bases: their mean rotation, and ``middle`` goes
    where their points go.

    The mean is chordal (the rotation nearest to the weighted sum). Where the bases turn every way,
    so that there is no such thing, the heaviest one's rotation stands for all frames.
    """
    R, t = se3.gram_schmidt(bases[..., :6].astype(np.float64)), bases[..., 6:].astype(np.float64)
    share = np.maximum(total, 1e-12) / np.maximum(total, 1e-12).sum()
    U, S, Vt = np.linalg.svd(np.einsum("k,ktij->tij", share, R))
    sign = np.sign(np.linalg.det(U @ Vt))
    sure = S[:, 1] + sign * S[:, 2]
    U[:, :, 2] *= sign[:, None]
    turn = U @ Vt if sure.min() > _SURE else R[share.argmax()]
    place = np.einsum("k,kti->ti", share, np.einsum("ktij,kj->kti", R, centre) + t)
    motion = np.tile(np.eye(4), (bases.shape[1], 1, 1))
    motion[:, :3, :3] = turn
    # `middle` is the mean of the centres, so this is where it went with them
    motion[:, :3, 3] = place - np.einsum("tij,j->ti", turn, middle)
    return motion


def compute_moments(puppet: Puppet) -> tuple[Array, Array, Array]:  # (K,), (K, 3), (K,)
    """Weight, weighted mean and mean squared distance of the points of each basis; the whole
    subject's for an idle one."""
    k, means = puppet.n_bases, puppet.subject.means.astype(np.float64)
    index, weight = puppet.index.ravel(), puppet.weight.ravel().astype(np.float64)
    total = np.bincount(index, weight, minlength=k).astype(np.float64)
    idle = total < 1e-9
    share = np.where(idle, 1.0, total)
    repeat = np.repeat(means, puppet.index.shape[1], axis=0)
    centre = (
        np.stack([np.bincount(index, weight * repeat[:, i], minlength=k) for i in range(3)], 1)
        / share[:, None]
    )
    square: Array = (
        np.bincount(index, weight * ((repeat - centre[index]) ** 2).sum(1), minlength=k) / share
    )
    mean = means.mean(0)
    square = np.where(idle, ((means - mean) ** 2).sum(1).mean(), square)
    return total, np.where(idle[:, None], mean, centre), square


def _project_regions(
    performance: Performance, of_basis: NDArray[np.intp], middle: Array
) -> Array:  # (R, 3) x right, y down, z away
    """Where the regions are in the first frame, in camera coordinates."""
    R, t = (
        se3.gram_schmidt(performance.bases[:, 0, :6].astype(np.float64)),
        performance.bases[:, 0, 6:].astype(np.float64),
    )
    count = len(middle)
    number = np.bincount(of_basis, minlength=count)[:, None]
    moved = np.einsum("kij,kj->ki", R, middle[of_basis]) + t
    posed = np.stack([np.bincount(of_basis, moved[:, i], count) for i in range(3)], 1) / number
    w2c = performance.w2c[0].astype(np.float64)
    return posed @ w2c[:3, :3].T + w2c[:3, 3]


def _name_regions(seen: Array) -> list[str]:
    """By thirds of the picture that they span; where several share one they are numbered, nearest
    first."""
    low, span = seen[:, :2].min(0), np.ptp(seen[:, :2], axis=0)
    third = (
        np.where(span > 1e-6, (seen[:, :2] - low) / np.maximum(span, 1e-6) * 3, 1.0)
        .astype(int)
        .clip(0, 2)
    )
    plain = [f"{_UP[y]} {_ACROSS[x]}".strip() for x, y in third]
    names = []
    for i, name in enumerate(plain):
        names.append(f"{name} {plain[: i + 1].count(name)}" if plain.count(name) > 1 else name)
    return names
