"""The clip of scripts/guide_clip.py: what its turns do to a body, and how performances follow."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import guide_clip  # noqa: E402

from restage4d.skeleton.skeleton import Bone, Skeleton  # noqa: E402


def make_animal():
    """Hips and chest along +X, a neck upwards, a front leg downwards."""

    def bone(name, head, tail, parent, part, is_limb=False):
        return Bone(name, np.array(head, float), np.array(tail, float), parent, part, is_limb)

    bones = [
        bone("hips", (0, 0, 1), (1, 0, 1), -1, "torso"),
        bone("chest", (1, 0, 1), (2, 0, 1), 0, "torso"),
        bone("neck", (2, 0, 1), (2, 0, 2), 1, "head"),
        bone("head", (2, 0, 2), (3, 0, 2), 2, "head"),
        bone("leg_front_upper.L", (2, 0, 1), (2, 0, 0.5), 1, "leg_front.L", True),
        bone("leg_front_lower.L", (2, 0, 0.5), (2, 0, 0), 4, "leg_front.L", True),
    ]
    return Skeleton(bones, np.zeros((1, 4), np.uint16), np.ones((1, 4), np.float32), True)


def move(M, place):
    return M[:3, :3] @ place + M[:3, 3]


def test_a_turn_takes_along_what_hangs_on_it_and_nothing_else():
    skeleton = make_animal()
    still = np.tile(np.eye(4), (6, 1, 1))
    np.testing.assert_array_equal(
        guide_clip.change(skeleton, still, guide_clip.turn_head(skeleton), 0.0), still
    )
    changes = guide_clip.change(skeleton, still, guide_clip.turn_head(skeleton), 1.0)
    np.testing.assert_array_equal(changes[[0, 1, 4, 5]], still[:4])
    angle = np.radians(guide_clip.HEAD)
    nose = move(changes[3], skeleton.bones[3].tail)
    np.testing.assert_allclose(nose, [2 + np.cos(angle), np.sin(angle), 2], atol=1e-9)


def test_a_raised_paw_is_before_the_body_and_higher():
    skeleton = make_animal()
    still = np.tile(np.eye(4), (6, 1, 1))
    changes = guide_clip.change(skeleton, still, guide_clip.raise_paw(skeleton), 1.0)
    knee, paw = move(changes[4], np.array([2, 0, 0.5])), move(changes[5], np.array([2, 0, 0.0]))
    up, down = np.radians(60), np.radians(15)
    np.testing.assert_allclose(knee, [2 + 0.5 * np.sin(up), 0, 1 - 0.5 * np.cos(up)], atol=1e-9)
    end = knee + 0.5 * np.array([-np.sin(down), 0, -np.cos(down)])
    np.testing.assert_allclose(paw, end, atol=1e-9)
    np.testing.assert_allclose(move(changes[5], np.array([2, 0, 0.5])), knee, atol=1e-9)


@pytest.mark.parametrize(("u", "value"), [(0, 0), (0.125, 0.5), (0.25, 1), (0.5, 1), (1, 0)])
def test_a_tweak_comes_and_goes(u, value):
    assert guide_clip.ease(u) == pytest.approx(value)
