"""The subject's proxy mesh with the weights of the points around it, for engines: they skin meshes,
not splats."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d.exporting.shot import Shot
from restage4d.posing.surface import close_surface
from restage4d.puppet import F32, sh_to_rgb
from restage4d.srgb import srgb_to_linear

INFLUENCES = 8
_FACES = 8000
_AROUND = 8  # points that a vertex takes its weights and colour from
_DENSE = 0.3  # opacity of those that count


@dataclass(frozen=True, eq=False)
class SkinnedMesh:
    """At rest, in the shot's axes and units.

    Attributes:
        vertices, normals, colours: (V, 3); colours linear, 0..1.
        quads: (F, 4), turning left seen from outside.
        index, weight: (V, `INFLUENCES`) bases and their shares: they sum to 1, largest first, no
            basis twice; where a share is 0 the basis is 0.
    """

    vertices: F32
    normals: F32
    colours: F32
    quads: NDArray[np.int32]
    index: NDArray[np.uint16]
    weight: F32


def make_skinned_mesh(shot: Shot) -> SkinnedMesh:
    """Wraps the dense splats at rest. Raises `InputError` where hardly any is dense."""
    puppet, rest = shot.puppet, shot.get_rest()
    vertices, quads = close_surface(rest, faces=_FACES)
    dense = np.flatnonzero(rest.opacities >= _DENSE)
    count = min(_AROUND, len(dense))
    found = KDTree(rest.means[dense]).query(vertices, k=count)
    distance, near = (np.reshape(v, (len(vertices), count)) for v in found)
    share = 1 / (distance + 1e-3 * np.median(distance) + 1e-12)
    share = share / share.sum(1, keepdims=True)  # (V, A)
    near = dense[near]
    coefs = np.zeros((len(vertices), puppet.n_bases), np.float32)
    rows = np.arange(len(vertices))[:, None]
    for a in range(count):
        np.add.at(
            coefs, (rows, puppet.index[near[:, a]]), share[:, a, None] * puppet.weight[near[:, a]]
        )
    index, weight = _take_largest(coefs)
    colour = (sh_to_rgb(rest.sh[near, 0]).clip(0, 1) * share[..., None]).sum(1)
    return SkinnedMesh(
        vertices.astype(np.float32),
        _find_normals(vertices, quads).astype(np.float32),
        np.asarray(srgb_to_linear(colour.astype(np.float32)), np.float32),
        quads.astype(np.int32),
        index,
        weight,
    )


def _take_largest(coefs: F32) -> tuple[NDArray[np.uint16], F32]:  # (V, K) -> (V, 8), (V, 8)
    kept = min(INFLUENCES, coefs.shape[1])
    index = np.zeros((len(coefs), INFLUENCES), np.uint16)
    weight = np.zeros((len(coefs), INFLUENCES), np.float32)
    largest = np.argsort(-coefs, axis=1, kind="stable")[:, :kept]
    weight[:, :kept] = np.take_along_axis(coefs, largest, 1)
    weight /= weight.sum(1, keepdims=True)
    index[:, :kept] = largest
    index[weight == 0] = 0
    return index, weight


def _find_normals(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    a, b, c, d = (vertices[quads[:, i]] for i in range(4))
    face = np.cross(c - a, d - b)  # as long as the quad is large
    normals = np.zeros_like(vertices)
    for i in range(4):
        np.add.at(normals, quads[:, i], face)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-20, normals / np.maximum(length, 1e-20), [0.0, 0, 1])
