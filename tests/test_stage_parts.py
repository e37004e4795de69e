"""The creature's shape, skeleton and animations, without Blender."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from stage import gait, shape, skeleton

FPS = 24


def test_surface_nets_give_a_closed_surface_on_the_field() -> None:
    cones = [
        shape.Cone("a", (0, 0, 0), (1, 0, 0), 0.3, 0.1),
        shape.Cone("b", (0.2, 0, 0), (0.2, 0.6, 0), 0.1, 0.05),
    ]
    field = shape.union(cones)
    vertices, quads = shape.surface_nets(
        field, np.array([-0.5, -0.5, -0.5]), np.array([1.3, 0.9, 0.5]), 0.03
    )
    assert np.abs(field(vertices)).max() < 2e-3
    edges = np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)])
    _, count = np.unique(edges[:, 0] * len(vertices) + edges[:, 1], return_counts=True)
    assert (count == 1).all()  # every directed edge once ...
    assert set(map(tuple, edges)) == set(
        map(tuple, edges[:, ::-1])
    )  # ... and once the other way round: closed, oriented
    a, b, c, d = (vertices[quads[:, i]] for i in range(4))
    volume = (
        sum(np.einsum("ij,ij->i", x, np.cross(y, z)).sum() for x, y, z in ((a, b, c), (a, c, d)))
        / 6
    )
    inside = np.random.default_rng(0).uniform([-0.5, -0.5, -0.5], [1.3, 0.9, 0.5], (200_000, 3))
    assert volume == pytest.approx((field(inside) < 0).mean() * 1.8 * 1.4 * 1.0, rel=0.03)


def test_round_cone_distance_is_exact() -> None:
    cone = shape.Cone("a", (0, 0, 0), (1, 0, 0), 0.3, 0.1)
    s = np.linspace(0, 1, 4001)
    balls, radii = np.stack([s, 0 * s, 0 * s], 1), 0.3 - 0.2 * s
    p = np.random.default_rng(1).uniform(-1, 2, (300, 3))
    brute = (np.linalg.norm(p[:, None] - balls, axis=2) - radii).min(1)
    outside = brute > 0
    assert np.abs(cone.distance(p) - brute)[outside].max() < 1e-5


def test_diffused_weights_stay_a_partition() -> None:
    vertices, quads = shape.surface_nets(
        shape.union([shape.Cone("a", (0, 0, 0), (1, 0, 0), 0.2, 0.2)]),
        np.full(3, -0.4),
        np.array([1.4, 0.4, 0.4]),
        0.05,
    )
    label = (vertices[:, 0] > 0.5).astype(int)
    weight = shape.diffuse(np.eye(2)[label], quads, 10)
    assert np.abs(weight.sum(1) - 1).max() < 1e-12
    assert (weight[vertices[:, 0] > 1.1, 1] > 0.99).all()
    assert 0.3 < weight[np.abs(vertices[:, 0] - 0.5) < 0.06].mean() < 0.7


def test_neutral_posture_is_the_rest_pose() -> None:
    assert np.abs(gait.Posture().matrices() - np.eye(4)).max() < 1e-9


@pytest.mark.parametrize("name", gait.ANIMATIONS)
def test_bones_stay_joined_and_move_smoothly(name: str) -> None:
    moved = np.stack([gait.ANIMATIONS[name](t / FPS).matrices() for t in range(60)])  # (T, B, 4, 4)
    R = moved[..., :3, :3]
    assert np.abs(R @ R.swapaxes(-1, -2) - np.eye(3)).max() < 1e-9
    for bone in skeleton.BONES:
        if bone.parent:
            i, j = skeleton.INDEX[bone.name], skeleton.INDEX[bone.parent]
            head = np.append(bone.head, 1.0)
            assert np.abs((moved[:, i] - moved[:, j]) @ head).max() < 1e-9, bone.name
    tails = np.einsum("tbij,bj->tbi", moved, np.c_[skeleton.TAILS, np.ones(len(skeleton.TAILS))])[
        ..., :3
    ]
    step = np.linalg.norm(np.diff(tails, axis=0), axis=2)
    assert step.max() < 0.2  # extents per frame
    assert step.max() > 0.002  # and it does move
    assert np.linalg.norm(np.diff(tails, n=2, axis=0), axis=2).max() < 0.15  # no jumps
    assert (
        tails[:, 1:, 2].min() > 0.0
    )  # nothing but the root, which is no part of the body, sinks into the ground


@pytest.mark.parametrize("name", gait.ANIMATIONS)
def test_feet_reach_their_targets(name: str) -> None:
    for t in np.arange(60) / FPS:
        posture = gait.ANIMATIONS[name](t)
        moved = posture.matrices()
        for leg, target in posture.soles.items():
            bone = skeleton.INDEX[("pastern." if leg[0] == "f" else "hock.") + leg[-1]]
            sole = moved[bone] @ np.append(gait.SOLE[leg], 1.0)
            assert np.linalg.norm(sole[:3] - target) < (0.07 if name == "jump" else 0.025), (leg, t)


@pytest.mark.parametrize("motion", [gait.walk, gait.trot])
def test_planted_feet_do_not_slide(motion) -> None:
    soles = np.array(
        [[motion(t / 96).soles[leg] for leg in gait.LEGS] for t in range(240)]
    )  # (T, 4, 3)
    speed = np.linalg.norm(np.diff(soles, axis=0), axis=2) * 96
    low = soles[..., 2] <= soles[..., 2].min() + 1e-9
    resting = low[1:] & low[:-1]
    assert resting.mean() > 0.35
    assert speed[resting].max() < 0.05
    assert speed.max() > 0.8
