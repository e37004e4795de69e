"""New performances of old ones, and few keys for many: the mathematics, without Blender."""

import numpy as np
import pytest

from blender_addon.puppet.animation import clips, curve_fitting, sampling, transfer
from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import Performance

FRAMES = 24


def turn_z(angle):
    c, s, o = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    return np.stack([np.stack([c, -s, o], -1), np.stack([s, c, o], -1),
                     np.stack([o, o, o + 1], -1)], -2)  # fmt: skip


def make_chain(n=600):
    """A body along x whose points follow three bases, blended where they meet."""
    rng = np.random.default_rng(0)
    means = rng.uniform([-0.6, -0.1, 0], [0.6, 0.1, 0.4], (n, 3)).astype(np.float32)
    place = np.array([-0.4, 0.0, 0.4])
    score = np.exp(-(((means[:, :1] - place) / 0.12) ** 2)) + 1e-6
    index = np.tile(np.arange(3, dtype=np.uint16), (n, 1))
    weight = (score / score.sum(1, keepdims=True)).astype(np.float32)
    return sampling.make_body(means, index, weight, 3)


def make_performance(name="a", walk=0.0, heading=0.0, wag=0.0, frames=FRAMES, fps=24.0):
    """Three bases that walk along a heading and wag; the camera stands."""
    time = np.linspace(0, 1, frames)
    bases = []
    for k in range(3):
        R = turn_z(heading + wag * (k - 1) * np.sin(2 * np.pi * time))
        way = walk * np.stack([np.cos(heading) * time, np.sin(heading) * time, 0 * time], -1)
        bases.append(se3.pack(R, way))
    K = np.tile(np.array([[100, 0, 50], [0, 100, 40], [0, 0, 1]], np.float32), (frames, 1, 1))
    w2c = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    w2c[:, :3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    w2c[:, 2, 3] = 3
    return Performance(name, np.array(bases, np.float32), fps, K, w2c, (100, 80))


def measure_steps(performance, body):
    """How far the fastest point goes between neighbouring frames: (T - 1,)."""
    points = sampling.pose_points(performance.bases, body)
    return np.linalg.norm(np.diff(points, axis=0), axis=-1).max(1)


def test_the_second_performance_begins_where_the_first_one_ends():
    body = make_chain()
    walk, crouch = make_performance(walk=2.0, heading=0.7), make_performance("b", wag=0.3)
    for frames in (0, 1, 8):
        made = clips.sequence(walk, crouch, body, frames)
        assert made.n_frames == 2 * FRAMES - frames
        own = max(measure_steps(walk, body).max(), measure_steps(crouch, body).max())
        assert measure_steps(made, body).max() < 1.5 * own
        root = sampling.measure_root(made.bases, body)
        assert np.linalg.norm(root[-1, :2, 3]) > 1.5  # not back at the start
        heading = np.arctan2(root[-1, 1, 0], root[-1, 0, 0])
        assert heading == pytest.approx(0.7, abs=0.02)
        np.testing.assert_array_equal(made.w2c, np.tile(walk.w2c[:1], (len(made.w2c), 1, 1)))
        kept = FRAMES - frames
        np.testing.assert_array_equal(made.bases[:, :kept], walk.bases[:, :kept])
    naive = np.concatenate([walk.bases, crouch.bases], 1)  # jumps back
    assert measure_steps(sampling.replace_frames(walk, naive, walk.K, walk.w2c), body).max() > 1.5


def test_heights_are_each_performance_s_own():
    body, low = make_chain(), make_performance()
    high = make_performance("b")
    high.bases[..., 8] += 0.5
    made = clips.sequence(high, low, body, 4)
    np.testing.assert_allclose(made.bases[:, -1, 8], 0, atol=1e-6)


def test_a_loop_goes_on_and_a_reverse_goes_back():
    body, walk = make_chain(), make_performance(walk=1.0)
    three = clips.loop(walk, body, 3, 4)
    assert three.n_frames == 3 * FRAMES - 8
    assert three.bases[0, -1, 6] == pytest.approx(3 - 8 / 23, abs=0.02)
    back = clips.reverse(walk)
    np.testing.assert_array_equal(back.bases, walk.bases[:, ::-1])
    np.testing.assert_array_equal(clips.reverse(back).bases, walk.bases)


def test_speed_says_how_long_it_lasts():
    body, walk = make_chain(), make_performance(walk=1.0, frames=25)
    assert clips.retime(walk, np.full(25, 2.0), body).n_frames == 13
    slow = clips.retime(walk, np.full(25, 0.5), body)
    assert slow.n_frames == 49
    np.testing.assert_array_equal(slow.bases[:, ::2], walk.bases)
    np.testing.assert_array_equal(clips.retime(walk, np.ones(25), body).bases, walk.bases)
    ease = np.where(np.arange(25) < 12, 1.0, 3.0)
    x = clips.retime(walk, ease, body).bases[0, :, 6] * 24
    assert np.diff(x)[:8] == pytest.approx(1, abs=0.05)
    assert np.diff(x)[-3:] == pytest.approx(3, abs=0.2)
    with pytest.raises(InputError, match="The speed is 0 at frame 4"):
        clips.retime(walk, np.where(np.arange(25) == 3, 0.0, 1.0), body)
    with pytest.raises(InputError, match="would last"):
        clips.retime(walk, np.full(25, 0.01), body)


def test_parts_of_another_performance_hang_on_the_body_of_this_one():
    """The head of one that stands and wags, on a body that walks away: nothing tears."""
    body = make_chain()
    walk, nod = make_performance(walk=2.0, heading=0.5), make_performance("b", wag=0.6)
    walk.bases[1, :, 7] += np.linspace(0, 1, FRAMES)  # and its middle goes aside
    chosen = np.array([False, False, True])
    made = clips.mix(walk, nod, chosen, body)
    np.testing.assert_array_equal(made.bases[:2], walk.bases[:2])
    apart = made.bases[2] - walk.bases[2]
    assert np.abs(apart).max() > 0.2  # it wags
    share = sampling.spread_weights(body.index, body.weight, 3)
    seam = (share[:, 2] > 0.3) & (share[:, 2] < 0.7)
    assert seam.sum() > 8

    def measure_tear(bases):
        """How far the boundary's points are, by either side's bases, from one another."""
        R = sampling.to_matrices(bases)
        sides = [np.einsum("tij,nj->tni", R[k][:, :3, :3], body.means[seam])
                 + R[k][:, None, :3, 3] for k in (1, 2)]  # fmt: skip
        return np.linalg.norm(sides[0] - sides[1], axis=-1).max()

    naive = walk.bases.copy()
    naive[2] = nod.bases[2]
    assert measure_tear(made.bases) < 1.3 * measure_tear(nod.bases)
    assert measure_tear(naive) > 5 * measure_tear(made.bases)


def test_parts_that_touch_go_together_and_others_alone():
    share = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    groups = clips.find_groups(share, np.array([True, True, True, False]))
    assert [g.tolist() for g in groups] == [[0, 1], [2]]


def test_another_rate_and_picture_are_brought_to_the_first_one_s():
    body, a = make_chain(), make_performance(walk=1.0)
    b = make_performance("b", walk=1.0, frames=47, fps=48.0)
    b.size, b.K = (200, 160), b.K * np.array([2, 2, 1], np.float32)[:, None]
    made = clips.sequence(a, b, body, 0)
    assert (made.n_frames, made.fps, made.size) == (2 * FRAMES, 24.0, (100, 80))
    np.testing.assert_allclose(made.K, np.tile(a.K[:1], (2 * FRAMES, 1, 1)), rtol=1e-6)


def test_a_transfer_is_what_the_source_did_at_the_target_s_size_and_place():
    source = make_chain()
    rng = np.random.default_rng(1)
    means = (1.5 * rng.uniform([-0.6, -0.1, 0], [0.6, 0.1, 0.4], (500, 3))).astype(np.float32)
    place = np.linspace(-0.75, 0.75, 5)
    score = np.exp(-(((means[:, :1] - place) / 0.2) ** 2)) + 1e-6
    target = sampling.make_body(
        means, np.tile(np.arange(5, dtype=np.uint16), (500, 1)),
        (score / score.sum(1, keepdims=True)).astype(np.float32), 5,
    )  # fmt: skip
    start = np.tile(np.eye(4), (5, 2, 1, 1))
    start[..., 0, 3] = 7.0  # it stands elsewhere
    K = np.tile(np.eye(3, dtype=np.float32) * 80, (2, 1, 1))
    w2c = make_performance().w2c[:2]
    own = Performance("own", sampling.to_bases(start), 12.0, K, w2c, (64, 48))
    walk = make_performance(walk=2.0, wag=0.4)
    made = transfer.transfer(walk, source, own, target)
    assert (made.fps, made.size, made.n_frames) == (12.0, (64, 48), 13)
    np.testing.assert_allclose(made.bases[:, 0], own.bases[:, 0], atol=1e-6)
    moved = made.bases[2, -1, 6] - made.bases[2, 0, 6]
    assert moved == pytest.approx(1.5 * 2.0, rel=0.02)  # 1.5 times as large
    angle = np.arctan2(made.bases[:, :, 1], made.bases[:, :, 0])
    wag = np.abs(angle).max(1)
    assert wag[[0, 4]] == pytest.approx(0.4, abs=0.05)
    assert wag[2] < 0.1
    behind = Performance(
        "own", own.bases, 12.0, own.K, own.w2c @ np.diag([-1, -1, 1, 1]).astype(np.float32),
        own.size,
    )  # fmt: skip
    back = transfer.transfer(walk, source, behind, target)  # seen from the other side
    assert back.bases[2, -1, 6] - back.bases[2, 0, 6] == pytest.approx(-3.0, rel=0.02)


def evaluate(keys, values, slopes, count):
    design = curve_fitting.build_design(keys, count)
    return design @ np.concatenate([values, slopes])


def test_few_keys_stay_within_the_error():
    time = np.arange(60) / 60
    values = np.stack([np.sin(7 * time), np.cos(5 * time), 0.3 * time], 1)
    weight = np.array([1.0, 2.0, 1.0])
    counts = []
    for tolerance in (0.1, 0.01, 0.001):
        keys, at, slopes = curve_fitting.fit_keys(values, weight, tolerance)
        off = np.linalg.norm((evaluate(keys, at, slopes, 60) - values) * weight, axis=1)
        assert off.max() <= tolerance
        counts.append(len(keys))
    assert counts[0] < counts[1] < counts[2] < 20
    keys, at, slopes = curve_fitting.fit_keys(np.ones((60, 1)), np.ones(1), 1e-6)
    assert len(keys) == 2
    np.testing.assert_allclose([*at, *slopes], [[1], [1], [0], [0]], atol=1e-12)
    keys, at, _ = curve_fitting.fit_keys(np.array([[3.0]]), np.ones(1), 0.1)
    assert (keys.tolist(), at.tolist()) == ([0], [[3.0]])


def test_handles_make_the_fitted_cubic():
    keys, values, slopes = np.array([0, 9]), np.array([1.0, 2.0]), np.array([0.5, -0.2])
    left, right = curve_fitting.place_handles(keys, values, slopes)
    p = np.stack([[0, 1.0], right[0], left[1], [9, 2.0]])
    u = np.linspace(0, 1, 10)[:, None]
    bezier = (
        (1 - u) ** 3 * p[0] + 3 * u * (1 - u) ** 2 * p[1] + 3 * u**2 * (1 - u) * p[2] + u**3 * p[3]
    )
    np.testing.assert_allclose(bezier[:, 0], np.arange(10), atol=1e-12)
    design = curve_fitting.build_design(keys, 10) @ np.concatenate([values, slopes])
    np.testing.assert_allclose(bezier[:, 1], design, atol=1e-12)


def test_smoothing_keeps_what_is_outside_and_what_is_straight():
    rng = np.random.default_rng(0)
    line = np.arange(40.0)[:, None]
    noisy = line + rng.normal(0, 1, (40, 1))
    out = curve_fitting.smooth(noisy, 10, 30, 2.0)
    inside = np.arange(40)
    inside = (inside > 10) & (inside < 30)
    np.testing.assert_array_equal(out[~inside], noisy[~inside])
    bend = [np.abs(np.diff(x[10:31, 0], 2)).mean() for x in (noisy, out)]
    assert bend[1] < 0.4 * bend[0]
    np.testing.assert_allclose(curve_fitting.smooth(line, 0, 39, 3.0), line, atol=1e-9)


def test_falloff_is_one_at_the_frame_and_none_beyond_its_reach():
    share = curve_fitting.falloff(np.arange(10, 31), 20, 4)
    assert share[10] == 1
    np.testing.assert_array_equal(np.flatnonzero(share) + 10, range(16, 25))
    np.testing.assert_allclose(share, share[::-1], atol=1e-12)
