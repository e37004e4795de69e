"""The closed surface of Gaussians: no edge open, none shared by more than two faces, as large
as the body."""

import numpy as np
import pytest

from restage4d.errors import InputError
from restage4d.posing import surface
from restage4d.posing.surface import close_surface
from restage4d.puppet import Gaussians


def make_gaussians(means, scale=0.02):
    n = len(means)
    return Gaussians(
        means.astype(np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        np.full((n, 3), scale, np.float32),
        np.full(n, 0.9, np.float32),
        np.zeros((n, 1, 3), np.float32),
    )


def scatter(n, seed=0):
    directions = np.random.default_rng(seed).normal(size=(n, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def check_closed(vertices, quads):
    """Every edge is run through once each way, and the faces about every vertex are one fan; the
    volume within."""
    ends = np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)])
    forth, back = (ends[:, a] * len(vertices) + ends[:, b] for a, b in ((0, 1), (1, 0)))
    assert len(np.unique(forth)) == len(forth)
    np.testing.assert_array_equal(np.sort(forth), np.sort(back))
    follows = {}  # at a vertex: from the edge that comes in to the one that goes out
    for quad in quads.tolist():
        for i, v in enumerate(quad):
            follows[v, quad[i - 1]] = quad[(i + 1) % 4]
    at = {}
    for v, before in follows:
        at.setdefault(v, []).append(before)
    for v, around in at.items():
        turn, place = 0, around[0]
        while turn == 0 or place != around[0]:
            place, turn = follows[v, place], turn + 1
        assert turn == len(around), f"vertex {v} is two in one"
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_a_shell_with_a_hole_becomes_a_ball():
    shell = scatter(4000)
    shell = shell[~((shell[:, 2] > 0) & (np.linalg.norm(shell[:, :2], axis=1) < 0.12))]
    vertices, quads = close_surface(make_gaussians(shell), faces=3000, gap=2)
    volume = check_closed(vertices, quads)
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.15)
    assert 1000 < len(quads) <= 3000
    assert np.linalg.norm(vertices, axis=1).min() > 0.85  # no wall within
    assert np.linalg.norm(vertices, axis=1).max() < 1.15


def test_a_ring_keeps_its_hole_and_a_crumb_goes():
    a, b = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, 6000))
    ring = np.stack([(1 + 0.3 * np.cos(b)) * np.cos(a), (1 + 0.3 * np.cos(b)) * np.sin(a)], 1)
    ring = np.concatenate([ring, 0.3 * np.sin(b)[:, None]], 1)
    crumb = np.tile([[0.0, 0.0, 1.0]], (5, 1))
    vertices, quads = close_surface(make_gaussians(np.concatenate([ring, crumb])), faces=5000)
    volume = check_closed(vertices, quads)
    assert volume == pytest.approx(2 * np.pi**2 * 0.3**2, rel=0.25)
    assert len(vertices) - 2 * len(quads) + len(quads) == 0  # one handle
    assert vertices[:, 2].max() < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_any_cells_give_a_manifold(seed):
    """Cells at random meet in every way there is."""
    solid = np.zeros((12, 12, 12), bool)
    solid[3:9, 3:9, 3:9] = np.random.default_rng(seed).random((6, 6, 6)) < 0.4
    made = surface._make_manifold(solid)
    assert (made | ~solid).all()
    vertices, quads = surface._wrap(made)
    check_closed(vertices, quads)
    start = surface._wrap(solid)[1]
    ends = np.concatenate([start[:, [i, (i + 1) % 4]] for i in range(4)])
    assert len(np.unique(ends, axis=0)) < len(ends)  # without it some edge is shared by four


def test_hardly_anything_dense_is_refused():
    few = make_gaussians(scatter(50))
    few.opacities[5:] = 0.1
    with pytest.raises(InputError, match="Only 5 splats are dense"):
        close_surface(few)
