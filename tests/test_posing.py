"""Pulling at a body: the energy's derivative, what follows, what stays, and the way back."""

import numpy as np
import pytest

from restage4d import se3
from restage4d.errors import InputError
from restage4d.posing.carrying import Body, split_motion, turn_bases
from restage4d.posing.drag import Drag, grab
from restage4d.posing.graph import connect, measure_ways, sample_points

BASES = 12


@pytest.fixture(scope="module")
def limb():
    """A rod of 3000 points along x, as long as 1, with two prongs at its end; every point listens
    to the bases near it, which have a motion of their own."""
    rng = np.random.default_rng(3)
    along, angle = rng.random(3000), rng.uniform(0, 2 * np.pi, 3000)
    means = np.stack([along, 0.04 * np.cos(angle), 0.04 * np.sin(angle)], 1)
    prong = rng.random(3000) < 0.5
    means[:, 1] += np.where(along > 0.7, np.where(prong, 0.1, -0.1), 0)
    place = np.stack([np.linspace(0, 1, BASES), np.zeros(BASES), np.zeros(BASES)], 1)
    place = np.concatenate([place[:9], [[0.8, 0.1, 0], [0.95, 0.1, 0]], [[0.85, -0.1, 0]]])
    apart = ((means[:, None] - place) ** 2).sum(-1)
    coefs = np.exp(-apart / 0.07**2) + 1e-9
    index = np.argsort(-coefs, axis=1)[:, :4].astype(np.uint16)
    weight = np.take_along_axis(coefs, index.astype(int), 1)
    weight = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    turn = se3.quat_to_matrix(np.array([np.cos(0.4), 0, np.sin(0.4), 0]))
    rest = np.tile(se3.pack(turn, np.array([0.3, -0.2, 0.5])), (BASES, 1))
    own = np.concatenate([rng.normal(0, 0.05, (BASES, 3)), rng.normal(0, 0.004, (BASES, 3))], 1)
    bases = turn_bases(rest, own, place @ turn.T + rest[:, 6:])
    return Body(means.astype(np.float32), index, weight, bases)


@pytest.fixture(scope="module")
def tip(limb):
    return int((limb.means[:, 0] + 5 * limb.means[:, 1]).argmax())


def measure_stretch(body, before, after, k=6):
    """Lengths between neighbours at rest, after over before."""
    gap = ((body.means[:, None] - body.means[None]) ** 2).sum(-1)
    near = np.argsort(gap, axis=1)[:, 1 : k + 1]
    lengths = [np.linalg.norm(x[:, None] - x[near], axis=-1) for x in (before, after)]
    return lengths[1] / np.maximum(lengths[0], 1e-3)


def test_gradient_is_the_energys(limb, tip):
    grip = grab(limb, tip, size=0.03, reach=0.4)
    drag = Drag(limb, grip, pinned=np.flatnonzero(limb.means[:, 0] < 0.2))
    rng = np.random.default_rng(0)
    drag.move(np.array([0.02, 0.03, 0.05]), steps=1)
    bases = turn_bases(drag.bases, rng.normal(0, 0.1, (BASES, 6)), drag.find_middle(drag.bases))
    gradient, middle = drag.compute_gradient(bases), drag.find_middle(bases)
    step = 1e-5
    for k in range(BASES):
        for c in range(6):
            small = np.zeros((BASES, 6))
            small[k, c] = step
            up, down = (drag.compute_energy(turn_bases(bases, s * small, middle)) for s in (1, -1))
            want = (up - down) / (2 * step)
            assert gradient[k, c] == pytest.approx(
                want, rel=1e-4, abs=1e-4 * np.abs(gradient).max()
            )


def test_the_grabbed_follow_and_what_is_beyond_the_reach_stays(limb, tip):
    before = limb.pose()
    grip = grab(limb, tip, size=0.03, reach=0.4)
    drag = Drag(limb, grip)
    offset = np.array([0.0, 0.02, 0.12])
    for share in np.linspace(0, 1, 8)[1:]:
        drag.move(share * offset)
    after = limb.pose(drag.settle())
    moved = (after - before)[grip.rows].mean(0)
    assert np.linalg.norm(moved - offset) < 0.03 * np.linalg.norm(offset)
    far = limb.means[:, 0] < 0.35
    assert (grip.reach[far] == 0).all()
    assert np.abs(after - before)[far].max() < 2e-3
    beyond = np.linalg.norm(after - before, axis=1)[grip.reach == 0]
    assert beyond.max() < 0.02
    assert np.quantile(beyond, 0.9) < 5e-3
    stretch = measure_stretch(limb, before, after)
    assert (stretch > 3).mean() < 1e-3
    assert np.quantile(stretch, 0.999) < 1.25
    naive = limb.bases.copy()  # what a basis pulled by itself would do
    naive[limb.index[tip, 0], 6:] += offset
    torn = measure_stretch(limb, before, limb.pose(naive))
    assert np.quantile(torn, 0.999) > 1.4


def test_the_other_prong_is_far_along_the_body(limb, tip):
    """It lies as near as the crow flies as what follows."""
    grip = grab(limb, tip, size=0.03, reach=0.3)
    other = (limb.means[:, 0] > 0.93) & (limb.means[:, 1] < -0.03)
    own = (limb.means[:, 0] > 0.93) & (limb.means[:, 1] > 0.03)
    assert grip.reach[own].min() > 0.9
    assert grip.reach[other].max() < 0.2
    assert limb.means[grip.rows, 1].min() > 0


def test_forth_and_back_is_where_it_was(limb, tip):
    drag = Drag(limb, grab(limb, tip, size=0.03, reach=0.5))
    way = np.sin(np.linspace(0, np.pi, 16))[1:, None] * np.array([0.1, -0.05, 0.2])
    for offset in way:
        drag.move(offset)
    drag.move(np.zeros(3))
    extent = np.linalg.norm(np.ptp(limb.means, axis=0))
    assert np.abs(limb.pose(drag.settle()) - limb.pose()).max() < 1e-3 * extent


def test_pinned_points_hold(limb, tip):
    before = limb.pose()
    pinned = np.flatnonzero(np.abs(limb.means[:, 0] - 0.5) < 0.05)
    offset = np.array([0.05, 0.0, 0.2])
    moved = {}
    for name, rows in (("free", None), ("pinned", pinned)):
        drag = Drag(limb, grab(limb, tip, size=0.03, reach=3.0), rows)
        drag.move(offset)
        after = limb.pose(drag.settle())
        moved[name] = np.linalg.norm(after - before, axis=1)[pinned].max()
    assert moved["pinned"] < 1e-3 < 0.05 < moved["free"]


def test_what_was_done_is_told_from_rest(limb, tip):
    drag = Drag(limb, grab(limb, tip, size=0.03, reach=0.4))
    drag.move(np.array([0, 0, 0.1]))
    motion = split_motion(limb.bases, drag.bases)
    R, t = se3.gram_schmidt(limb.bases[:, :6]), limb.bases[:, 6:]
    whole = np.tile(np.eye(4), (BASES, 1, 1))
    whole[:, :3, :3], whole[:, :3, 3] = R, t
    done = whole @ motion
    np.testing.assert_allclose(se3.pack(done[:, :3, :3], done[:, :3, 3]), drag.bases, atol=1e-6)


def test_places_are_spread_and_ways_go_along_the_body(limb):
    about = limb.means, limb.index, limb.weight
    nodes, of_point = sample_points(*about, 300)
    assert 250 <= len(nodes) <= 350
    assert len(set(nodes.tolist())) == len(nodes)
    assert np.linalg.norm(limb.means - limb.means[nodes][of_point], axis=1).max() < 0.12
    graph = connect(nodes, limb.means, limb.pose(), limb.index, limb.weight)
    both = {tuple(e) for e in graph.edges.tolist()}
    assert all((b, a) in both for a, b in both)
    places = limb.means[nodes]
    far = measure_ways(graph, places, int(places[:, 0].argmin()))
    assert np.isfinite(far).all()
    assert far.max() == pytest.approx(np.ptp(places[:, 0]), rel=0.25)


def test_few_points_and_no_point():
    few = np.array([[0, 0, 0], [0.1, 0, 0]], np.float32)
    body = Body(few, np.zeros((2, 1), np.uint16), np.ones((2, 1), np.float32), se3.IDENTITY[None])
    drag = Drag(body, grab(body, 1, size=0.01, reach=1.0))
    drag.move(np.array([0, 0, 0.1]))
    np.testing.assert_allclose(body.pose(drag.settle())[1], [0.1, 0, 0.1], atol=5e-3)
    with pytest.raises(InputError, match="Nothing was grabbed"):
        grab(body, -1, size=0.01, reach=1.0)
