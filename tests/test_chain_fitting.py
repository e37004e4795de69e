"""Few keys for a tree of bones, within an error of what the bones carry: without Blender."""

from dataclasses import replace

import numpy as np
import pytest

from blender_addon.puppet.animation import chain_fitting
from blender_addon.puppet.animation.chain_fitting import Chain
from blender_addon.puppet.animation.curve_fitting import build_design, build_designs

FRAMES, ERROR = 40, 2e-3


def turn(axis, angle):  # (3,), (T,) -> (T, 4)
    axis = np.array(axis, float) / np.linalg.norm(axis)
    return np.concatenate([np.cos(angle / 2)[:, None], np.sin(angle / 2)[:, None] * axis], 1)


def make_arm(bones=4, frames=FRAMES, noise=0.0, seed=0):
    """A chain of bones of 0.2, each with a place beside it, that waves; channels as they are."""
    rng, t = np.random.default_rng(seed), np.linspace(0, 1, frames)
    rest = np.tile(np.eye(4), (bones, 1, 1))
    rest[1:, 1, 3] = 0.2
    marks = [np.array([[0, 0, 0], [0, 0.2, 0], [0.05, 0.1, 0]])] * bones
    chain = Chain(
        [f"bone {b}" for b in range(bones)], list(range(-1, bones - 1)), rest, marks, [1.0] * bones
    )
    location = np.zeros((bones, frames, 3))
    location[0] = np.stack([np.sin(6 * t), 0.2 * t, 0.1 * np.cos(4 * t)], 1)
    location += noise * rng.normal(size=location.shape)
    angle = [0.8 * np.sin(2 * np.pi * t + b) + 20 * noise * rng.normal(size=frames)
             for b in range(bones)]  # fmt: skip
    return chain, location, np.stack([turn([1, 0.3 * b, 0.2], a) for b, a in enumerate(angle)])


def evaluate(few, frames):  # -> (B, T, 3), (B, T, 4)
    def read(channels):
        return np.stack(
            [build_design(at, frames) @ np.concatenate([v, s]) for at, v, s in channels], -1
        )

    return tuple(np.stack([read(mine) for mine in some]) for some in zip(*few, strict=True))


def measure(chain, few, location, quats):
    truth, after = (
        chain.carry_marks(chain.pose(*channels)[0])
        for channels in ((location, quats), evaluate(few, location.shape[1]))
    )
    return np.linalg.norm(after - truth, axis=-1)


def count(few):
    return sum(len(at) for both in few for channels in both for at, _, _ in channels)


@pytest.mark.parametrize(("noise", "fewer"), [(0.0, 8), (4e-4, 5)])
def test_marks_are_within_the_error_by_few_keys(noise, fewer):
    chain, location, quats = make_arm(noise=noise)
    few = chain_fitting.fit_chain(chain, location, quats, ERROR)
    off = measure(chain, few, location, quats)
    assert 0.6 * ERROR < off.max() <= ERROR, "the error is made use of"
    assert count(few) < 7 * FRAMES * len(chain.names) / fewer
    for both in few:
        assert [len(channels) for channels in both] == [3, 4]
        for at, values, slopes in (*both[0], *both[1]):
            assert len(at) == len(values) == len(slopes)
            assert at.tolist() == sorted(set(at.tolist()))
            assert at[0] == 0
            assert at[-1] in {0, FRAMES - 1}
        assert both[1][0][1].tolist() == [1.0], "w stands"


def test_a_smaller_error_takes_more_keys():
    chain, location, quats = make_arm(noise=2e-4)
    counts = []
    for error in (8e-3, 2e-3, 5e-4):
        few = chain_fitting.fit_chain(chain, location, quats, error)
        assert measure(chain, few, location, quats).max() <= error
        counts.append(count(few))
    assert counts[0] < counts[1] < counts[2]


def test_bones_share_the_error_of_what_they_carry():
    """Fitted together they need fewer keys than each by itself, of the same error at the end."""
    chain, location, quats = make_arm(noise=4e-4)
    together = count(chain_fitting.fit_chain(chain, location, quats, ERROR))
    apart = 0
    for b, (rest, marks) in enumerate(zip(chain.rest, chain.marks, strict=True)):
        reach = 0.2 * (len(chain.names) - b)  # to the end of the arm, where errors add up
        farther = np.concatenate([marks, [[0, reach, 0]]])
        one = Chain([chain.names[b]], [-1], rest[None], [farther], [1.0])
        mine = slice(b, b + 1)
        share = ERROR / len(chain.names)
        apart += count(chain_fitting.fit_chain(one, location[mine], quats[mine], share))
    assert together < 0.7 * apart


def test_a_bone_may_be_keyed_more_closely_than_others():
    chain, location, quats = make_arm(noise=4e-4)
    closer = replace(chain, shares=[1.0, 1.0, 1.0, 0.3])
    few = chain_fitting.fit_chain(closer, location, quats, ERROR)
    off = measure(chain, few, location, quats)
    assert off[-3:].max() <= 0.3 * ERROR
    assert 0.35 * ERROR < off[:-3].max() <= ERROR


def test_rotations_near_half_a_turn_are_keyed_by_all_four():
    chain, location, quats = make_arm(bones=2)
    angle = np.linspace(2.2, 3.4, FRAMES) + 0.2 * np.sin(np.linspace(0, 9, FRAMES))
    quats[1] = turn([0.2, 0.1, 1], angle)
    few = chain_fitting.fit_chain(chain, location, quats, ERROR)
    assert measure(chain, few, location, quats).max() <= ERROR
    assert len(few[1][1][0][0]) > 1


def test_the_other_side_of_a_quaternion_is_kept():
    chain, location, quats = make_arm(bones=2)
    few = chain_fitting.fit_chain(chain, location, -quats, ERROR)
    assert few[0][1][0][1].tolist() == [-1.0]
    assert measure(chain, few, location, quats).max() <= ERROR


def test_a_turn_through_a_half_turn_from_one_frame_to_the_next_is_kept():
    """w is far from 0 on both sides of it, but not of one sign."""
    chain, location, quats = make_arm(bones=2)
    quats[1] = turn([0, 0, 1], np.radians(np.where(np.arange(FRAMES) < FRAMES // 2, 115.0, 245.0)))
    few = chain_fitting.fit_chain(chain, location, quats, ERROR)
    assert measure(chain, few, location, quats).max() <= ERROR


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_clips(frames):
    chain, location, quats = make_arm(frames=frames)
    few = chain_fitting.fit_chain(chain, location, quats, ERROR)
    assert measure(chain, few, location, quats).max() <= ERROR
    assert all(at.max() < frames for both in few for channels in both for at, _, _ in channels)


def test_what_stands_has_one_key_a_channel():
    chain, location, quats = make_arm(frames=20)
    few = chain_fitting.fit_chain(
        chain, np.repeat(location[:, :1], 20, 1), np.repeat(quats[:, :1], 20, 1), ERROR
    )
    assert count(few) == 7 * len(chain.names)


def test_long_clips_are_looked_at_in_stretches(monkeypatch):
    chain, location, quats = make_arm(bones=2, frames=150, noise=4e-4)
    location[0] += 0.2 * np.sin(np.arange(150) * 0.7)[:, None]
    whole = chain_fitting.fit_chain(chain, location, quats, ERROR)
    monkeypatch.setattr(chain_fitting, "_STRETCH", 6)
    parts = chain_fitting.fit_chain(chain, location, quats, ERROR)
    for few in (whole, parts):
        assert measure(chain, few, location, quats).max() <= ERROR
    assert count(parts) < 1.3 * count(whole)


def test_a_chain_carries_its_marks_and_those_below():
    chain, location, quats = make_arm(bones=3)
    posed, within = chain.pose(location, 3 * quats)
    np.testing.assert_allclose(posed[0, :, :3, 3], location[0], atol=1e-12)
    np.testing.assert_allclose(within[1], posed[0] @ chain.rest[1], atol=1e-12)
    marks = chain.carry_marks(posed)
    np.testing.assert_allclose(marks[1], marks[3], atol=1e-12)  # a tail and the next head
    assert chain.find_below() == [slice(0, 9), slice(3, 9), slice(6, 9)]


def test_extremes_are_the_outermost():
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3), -1).reshape(-1, 3)
    found = chain_fitting.find_extremes(grid)
    assert len(found) <= 14
    corners = {tuple(x) for x in found.tolist() if np.abs(x).min() == 1}
    assert len(corners) == 8


def test_designs_of_several_choices_are_those_of_each():
    keys = np.array([[0, 3, 9], [0, 5, 9], [0, 8, 9]])
    found = build_designs(keys, np.arange(10.0))
    for mine, design in zip(keys, found, strict=True):
        np.testing.assert_allclose(design, build_design(mine, 10), atol=1e-12)
    half = build_designs(keys, np.arange(19) / 2)
    np.testing.assert_allclose(half[:, ::2], found, atol=1e-12)
