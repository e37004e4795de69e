"""The skeleton found in a puppet, its skin, its motion, and what it was posed to as bases."""

import sys
from pathlib import Path

import numpy as np
import pytest

from restage4d import se3
from restage4d.skeleton.branches import Branch
from restage4d.skeleton.contacts import find_contacts
from restage4d.skeleton.extending import FINE, LOSS, extend_bases
from restage4d.skeleton.finding import find_skeleton
from restage4d.skeleton.motion import compute_motion, fit_rigid
from restage4d.skeleton.naming import name_limbs
from restage4d.skeleton.posing import blend_changes
from restage4d.skeleton.shape import Shape

sys.path.insert(0, str(Path(__file__).parent / "blender"))
import puppets


@pytest.fixture(scope="module")
def walker():
    puppet = puppets.creature(n=5000, frames=10, size=(96, 72))
    return puppet, find_skeleton(puppet)


def turn_about(joint, axis, degrees):
    T = np.eye(4)
    axis, angle = np.asarray(axis, float), np.array(np.radians(degrees))
    T[:3, :3] = se3.quat_to_matrix(puppets.axis_angle(axis, angle))
    T[:3, 3] = joint - T[:3, :3] @ joint
    return T


def find_bone(skeleton, name):
    return next(i for i, b in enumerate(skeleton.bones) if b.name == name)


def pose_below(skeleton, name, T):  # -> (S, 4, 4)
    """A bone and all below it changed by T."""
    changes = np.tile(np.eye(4), (len(skeleton.bones), 1, 1))
    mine = {find_bone(skeleton, name)}
    for i, bone in enumerate(skeleton.bones):
        if bone.parent in mine:
            mine.add(i)
    changes[list(mine)] = T
    return changes


def test_a_quadruped_is_named(walker):
    """The creature looks to +x; its limbs' joints and tips are in `puppets`."""
    _, skeleton = walker
    names = [b.name for b in skeleton.bones]
    assert skeleton.is_named
    assert len(names) == len(set(names))
    tips = {
        "head": (0.55, 0, 0.6),
        "tail_3": (-0.46, 0, 0.6),
        "leg_front_foot.L": (0.19, 0.1, 0),
        "leg_front_foot.R": (0.19, -0.1, 0),
        "leg_hind_foot.L": (-0.22, 0.1, 0),
        "leg_hind_foot.R": (-0.22, -0.1, 0),
    }
    for name, tip in tips.items():
        bone = skeleton.bones[find_bone(skeleton, name)]
        assert np.linalg.norm(bone.tail - tip) < 0.09, name
    for upper, lower in skeleton.find_limbs():
        a, b = skeleton.bones[upper], skeleton.bones[lower]
        np.testing.assert_array_equal(a.tail, b.head)
        assert a.part == b.part


def test_it_is_the_same_every_time(walker):
    puppet, skeleton = walker
    again = find_skeleton(puppet)
    assert [b.name for b in again.bones] == [b.name for b in skeleton.bones]
    np.testing.assert_array_equal(again.weight, skeleton.weight)


def test_a_person_s_word_overrules_which_end_is_the_head(walker):
    puppet, _ = walker
    turned = find_skeleton(puppet, head=np.array([-0.44, 0.0, 0.6]))
    head = turned.bones[find_bone(turned, "head")]
    assert head.tail[0] < -0.3
    for bone in turned.bones:  # it looks to -x now: its left is -y
        if bone.name.endswith((".L", ".R")):
            assert (bone.head[1] < 0) == bone.name.endswith(".L"), bone.name
        if bone.name.startswith("leg_front"):
            assert bone.head[0] < 0


@pytest.mark.parametrize("kind", ["cloud", "box", "few"])
def test_what_has_no_limbs_has_no_skeleton(kind):
    puppet = puppets.random_puppet(n=60 if kind == "few" else 3000)
    if kind == "box":
        rng = np.random.default_rng(0)
        puppet.subject.means[:] = rng.uniform(-1, 1, (3000, 3)) * [0.5, 0.25, 0.2]
        for p in puppet.performances:
            p.bases[:] = se3.IDENTITY
    assert find_skeleton(puppet) is None


def test_skin_weights_sum_to_one_and_are_smooth(walker):
    puppet, skeleton = walker
    np.testing.assert_allclose(skeleton.weight.sum(1), 1, atol=1e-6)
    dense = np.zeros((len(puppet.subject), len(skeleton.bones)))
    np.add.at(dense, (np.arange(len(dense))[:, None], skeleton.index), skeleton.weight)
    means = puppet.subject.means[::5]
    square = ((means[:, None] - means[None]) ** 2).sum(2)
    np.fill_diagonal(square, np.inf)
    near = square.argmin(1)
    jump = np.abs(dense[::5] - dense[::5][near]).max(1)
    close = np.sqrt(square.min(1)) < 0.01
    assert close.sum() > 50
    assert jump[close].max() < 0.2
    # hips and chest blend over a tenth of the body's length, about 0.1
    middle = skeleton.bones[find_bone(skeleton, "chest")].head[0]
    trunk = np.abs(puppet.subject.means[:, 1:] - [0, 0.42]).max(1) < 0.15
    aside = np.abs(puppet.subject.means[:, 0] - middle)
    soft = dense[:, find_bone(skeleton, "chest")]
    near_joint, away = trunk & (aside > 0.02) & (aside < 0.04), trunk & (aside > 0.15)
    assert np.abs(soft - 0.5)[near_joint].max() < 0.45
    assert np.abs(soft - 0.5)[away & (soft + dense[:, 0] > 0.99)].min() > 0.4
    # each end is its own bone's
    for name, place in (("head", (0.5, 0, 0.6)), ("leg_hind_foot.R", (-0.22, -0.1, 0.0))):
        mine = np.linalg.norm(puppet.subject.means - place, axis=1) < (
            0.06 if name == "head" else 0.05
        )
        assert dense[mine, find_bone(skeleton, name)].mean() > (0.8 if name == "head" else 0.75)


def test_bones_move_as_their_points_did(walker):
    """A leg of the creature turns rigidly about a known joint."""
    puppet, skeleton = walker
    p = puppet.performance("gallop")
    moved = compute_motion(skeleton, puppet, p.bases)
    lower = find_bone(skeleton, "leg_front_lower.L")
    want = se3.gram_schmidt(p.bases[2, :, :6].astype(np.float64))  # basis 2 is that leg
    angle = np.arccos(
        (np.einsum("tij,tij->t", moved.bones[lower][:, :3, :3], want).clip(-1, 3) - 1).clip(-2, 2)
        / 2
    )
    assert np.degrees(angle).max() < 8
    tip = skeleton.bones[lower].tail
    seen = moved.tips[lower][:, :3, :3] @ tip + moved.tips[lower][:, :3, 3]
    exact = want @ tip + p.bases[2, :, 6:]
    assert np.linalg.norm(seen - exact, axis=1).max() < 0.02


def test_fit_rigid_finds_the_motion():
    rng = np.random.default_rng(1)
    means, T = rng.normal(size=(20, 3)), turn_about(np.array([1.0, 2, 3]), [1, 2, 0.5], 70)
    posed = (means @ T[:3, :3].T + T[:3, 3])[:, None]
    np.testing.assert_allclose(fit_rigid(means, posed, np.ones(20))[0], T, atol=1e-9)


def test_blended_changes_are_rigid_and_turn_about_the_joint():
    """Half of a turn about a joint is the half turn about the same joint, far from the origin."""
    joint = np.array([5.0, -3, 2])
    changes = np.stack([np.eye(4), turn_about(joint, [0, 1, 1], 80)])
    index, weight = np.array([[0, 1]] * 3), np.array([[1.0, 0], [0.5, 0.5], [0, 1]])
    R, t = blend_changes(changes, index, weight)
    for i, degrees in enumerate((0, 40, 80)):
        want = turn_about(joint, [0, 1, 1], degrees)
        np.testing.assert_allclose(R[i], want[:3, :3], atol=1e-9)
        np.testing.assert_allclose(t[i], want[:3, 3], atol=1e-9)


def test_any_joint_bends_without_tearing(walker):
    puppet, skeleton = walker
    means = puppet.subject.means.astype(np.float64)[::2]
    square = ((means[:, None] - means[None]) ** 2).sum(2)
    np.fill_diagonal(square, np.inf)
    near = np.argpartition(square, 8, axis=1)[:, :8]
    rest = np.linalg.norm(means[:, None] - means[near], axis=2)
    for bone in skeleton.bones:
        changes = pose_below(skeleton, bone.name, turn_about(bone.head, [0.3, 1, 0.5], 35))
        R, t = blend_changes(changes, skeleton.index[::2], skeleton.weight[::2])
        posed = se3.transform(R, t, means)
        far = np.linalg.norm(posed[:, None] - posed[near], axis=2)
        assert (far > 3 * rest).mean() < 1e-3, bone.name


def test_what_was_posed_is_in_the_bases(walker):
    """As near as was asked; performances that were not posed are what they were to
    float32, and so is everything where nothing was posed."""
    puppet, skeleton = walker
    s = puppet.subject
    base, gallop = puppet.performances
    still = np.tile(np.eye(4), (len(skeleton.bones), base.n_frames, 1, 1))
    skin = skeleton.index, skeleton.weight
    bases = [base.bases, gallop.bases]
    same = extend_bases(s.means, puppet.index, puppet.weight, skin, bases, [still, still])
    nearly = still + 2e-5 * np.sin(np.arange(still.size)).reshape(still.shape)  # keys are no nearer
    at_rest = extend_bases(s.means, puppet.index, puppet.weight, skin, bases, [still, nearly])
    assert len(at_rest.bases[0]) == len(bases[0])
    assert same.index is puppet.index
    assert same.bases is bases
    changes = still.copy()
    tail = skeleton.bones[find_bone(skeleton, "tail_1")]
    for t in range(10):
        changes[:, t] = pose_below(skeleton, "tail_1", turn_about(tail.head, [0, 0, 1], 6.0 * t))
    got = extend_bases(s.means, puppet.index, puppet.weight, skin, bases, [still, changes])
    assert 0 < got.loss <= LOSS
    fine = extend_bases(s.means, puppet.index, puppet.weight, skin, bases, [still, changes], FINE)
    assert fine.loss < FINE
    assert len(fine.bases[0]) > len(got.bases[0])
    assert puppet.n_bases < len(got.bases[0]) < 300
    extent = np.linalg.norm(np.ptp(s.means, axis=0))
    for t in (0, 5, 9):
        R, d = se3.blend(base.bases[:, t].astype(float), puppet.index, puppet.weight.astype(float))
        for i, change in enumerate((still, changes)):
            R, d = se3.blend(
                bases[i][:, t].astype(float), puppet.index, puppet.weight.astype(float)
            )
            posed = se3.transform(R, d, s.means.astype(float))
            want = se3.transform(*blend_changes(change[:, t], *skin), posed)
            R, d = se3.blend(
                got.bases[i][:, t].astype(float), got.index, puppet.weight.astype(float)
            )
            off = np.linalg.norm(se3.transform(R, d, s.means.astype(float)) - want, axis=1).max()
            assert off < (1e-6 if i == 0 else 1.2 * LOSS) * extent


def test_contacts_are_where_a_foot_stands():
    t = np.arange(40)
    places = np.zeros((40, 3))
    places[:, 0] = np.where(t < 10, 0, np.where(t < 20, (t - 10) * 0.05, 0.5))
    places[:, 2] = np.where((t > 10) & (t < 20), 0.15, 0.0)
    assert find_contacts(places, 1.0, 24.0) == [(0, 10), (20, 39)]
    assert find_contacts(places + np.array([0, 0, 0.5]), 1.0, 24.0, ground=0.0) == []
    sliding = np.stack([0.05 * t, 0 * t, 0 * t], 1)
    assert find_contacts(sliding, 1.0, 24.0) == []
    assert find_contacts(sliding, 1.0, 24.0, speed=2.0) == [(0, 39)]


def test_a_limb_across_from_an_arm_is_the_other_arm():
    """A shield arm that begins a little lower than the sword arm; one that begins at the hip is
    none."""
    z = np.concatenate([np.linspace(0, 0.5, 30), np.linspace(0.5, 1, 60)])  # heavy above
    trunk = np.stack([0.02 * np.cos(40 * z), 0.02 * np.sin(40 * z), z], 1)
    sword, shield, scabbard = (
        np.linspace([0, 0.05 * side, start], [0, 0.4 * side, start - 0.2], 20)
        for side, start in ((1, 0.7), (-1, 0.64), (-1, 0.42))
    )

    def name(*lines):
        shape, limbs = make_body(trunk, *lines)
        body = name_limbs(shape, limbs, np.array([3.0, 0, 0.5]), np.zeros(3), None, {})
        return [part.name for part in body.parts]

    assert name(sword, shield) == ["arm.L", "arm.R"]
    assert name(sword, scabbard) == ["arm.L", "limb_1"]
    assert name(sword, shield, scabbard) == ["arm.L", "arm.R", "limb_1"]


def make_body(trunk, *lines):
    """A shape of a trunk and of limbs along lines of 20 places each, and these limbs."""
    places = np.concatenate([trunk, *lines])
    shape = Shape(
        places, np.zeros((0, 2), int), np.zeros(0), 0.02, np.full(len(places), 0.02),
        np.zeros((len(places), 3), int), np.zeros(3),
    )  # fmt: skip
    limbs = []
    for i, line in enumerate(lines):
        cells = np.zeros(len(places), bool)
        cells[len(trunk) + 20 * i :][:20] = True
        along = np.where(cells, np.linspace(0, 0.4, len(places)), 0.0)
        tip = len(trunk) + 20 * i + 19
        limbs.append(Branch(cells, tip, along, 0.4, line, np.full(20, 0.02)))
    return shape, limbs


def test_who_has_four_legs_has_no_fifth():
    """Two are front legs and two are hind legs, wherever the trunk's middle is; what else hangs
    down beside those that the plan saw is no leg."""
    x = np.linspace(-0.6, 0.5, 200)
    trunk = np.stack([x, 0.02 * np.cos(40 * x), 0.6 + 0.02 * np.sin(40 * x)], 1)
    trunk = np.concatenate(
        [trunk, trunk[-60:] + np.array([0.02, 0, 0.02])]
    )  # heavy in front: middle x > 0
    legs = [
        np.linspace([at, side, 0.55], [at, side, 0.0], 20)
        for at, side in ((0.4, 0.1), (-0.1, -0.1), (-0.4, 0.1), (-0.5, -0.1))
    ]
    head = np.linspace([0.5, 0, 0.65], [0.9, 0, 0.8], 20)
    fold = np.linspace([0.3, 0, 0.5], [0.3, 0.02, 0.05], 20)
    shape, limbs = make_body(trunk, *legs, head, fold)
    kinds = {id(limb): "leg" for limb in limbs[:4]} | {id(limbs[4]): "head"}
    body = name_limbs(shape, limbs, np.array([0.0, 3, 0.5]), np.zeros(3), None, kinds)
    assert not body.upright
    assert [part.name for part in body.parts] == [
        "head", "leg_front.L", "leg_front.R", "leg_hind.L", "leg_hind.R",
    ]  # fmt: skip
    assert [part.branch for part in body.parts][1:3] == limbs[:2]
    unseen = {id(limbs[4]): "head"}  # without a plan it may be one
    body = name_limbs(shape, limbs, np.array([0.0, 3, 0.5]), np.zeros(3), None, unseen)
    assert sum(part.kind == "leg" for part in body.parts) == 5


def test_who_stands_on_two_legs_has_no_third():
    """The plan saw two; a coat's tail is a limb without a name, and makes no quadruped of him."""
    z = np.linspace(0.35, 1, 90)
    trunk = np.stack([0.02 * np.cos(40 * z), 0.02 * np.sin(40 * z), z], 1)
    left, right, coat = (
        np.linspace([x, y, 0.4], [x, y, 0.0], 20) for x, y in ((0, 0.1), (0, -0.1), (-0.1, 0))
    )
    shape, limbs = make_body(trunk, left, right, coat)
    kinds = {id(limb): "leg" for limb in limbs[:2]}
    body = name_limbs(shape, limbs, np.array([3.0, 0, 0.5]), np.zeros(3), None, kinds)
    assert body.upright
    assert [part.name for part in body.parts] == ["leg.L", "leg.R", "limb_1"]
    body = name_limbs(shape, limbs, np.array([3.0, 0, 0.5]), np.zeros(3), None, {})
    assert not body.upright, "three legs, as far as one knows"
