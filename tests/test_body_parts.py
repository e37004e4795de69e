"""The body plan of the first frame in the puppet, and the skeleton that is built on it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import Gaussians, Performance, Puppet
from restage4d.reconstruct.body_parts import find_body_parts
from restage4d.skeleton.body_parts import BodyPart
from restage4d.skeleton.finding import find_skeleton as find_or_none
from restage4d.skeleton.finding import list_parts
from restage4d.splatting.gaussians import render_performance

FAWN = (  # joint, tip, radius: it looks to +x, its ears reach farther than its muzzle
    ((-0.24, 0.0, 0.42), (0.22, 0.0, 0.42), 0.1),
    ((0.22, 0.0, 0.46), (0.34, 0.0, 0.7), 0.06),  # neck
    ((0.34, 0.0, 0.72), (0.38, 0.0, 0.72), 0.09),  # skull
    ((0.38, 0.0, 0.7), (0.54, 0.0, 0.66), 0.035),  # muzzle
    ((0.33, 0.06, 0.76), (0.3, 0.1, 1.0), 0.025),
    ((0.33, -0.06, 0.76), (0.3, -0.1, 1.0), 0.025),
    ((0.2, 0.08, 0.38), (0.3, 0.08, 0.03), 0.035),
    ((0.12, -0.08, 0.38), (0.08, -0.08, 0.03), 0.035),
    ((-0.16, 0.08, 0.38), (-0.12, 0.08, 0.03), 0.035),
    ((-0.26, -0.08, 0.38), (-0.36, -0.08, 0.03), 0.035),
    ((-0.28, 0.0, 0.48), (-0.5, 0.0, 0.6), 0.03),
)
PERSON = (
    ((0.0, 0.0, 0.5), (0.0, 0.0, 0.76), 0.09),
    ((0.0, 0.0, 0.94), (0.0, 0.0, 0.96), 0.07),  # head, without a neck to be seen
    ((0.0, 0.0, 0.78), (0.0, 0.0, 0.9), 0.05),
    ((0.1, 0.0, 0.78), (0.42, 0.0, 0.8), 0.035),
    ((-0.1, 0.0, 0.78), (-0.42, 0.0, 0.8), 0.035),
    ((0.06, 0.0, 0.48), (0.1, 0.0, 0.03), 0.045),
    ((-0.06, 0.0, 0.48), (-0.1, 0.0, 0.03), 0.045),
)


def build(limbs, n=9000, size=(192, 144)):
    """A still puppet of capsules, filmed from its side, -y."""
    rng = np.random.default_rng(0)
    a, b, radius = (np.array(x, float) for x in zip(*limbs, strict=True))
    area = radius * (np.linalg.norm(b - a, axis=1) + 2 * radius)
    limb = rng.choice(len(limbs), n, p=area / area.sum())
    normal = rng.normal(size=(n, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    means = a[limb] + rng.random((n, 1)) * (b - a)[limb] + radius[limb, None] * normal
    subject = Gaussians(
        means.astype(np.float32),
        np.tile(np.float32([1, 0, 0, 0]), (n, 1)),
        np.full((n, 3), 0.012, np.float32),
        np.full(n, 0.9, np.float32),
        np.ones((n, 1, 3), np.float32),
    )
    w2c = np.eye(4, dtype=np.float32)
    w2c[:3] = [[1, 0, 0, 0], [0, 0, -1, 0.5], [0, 1, 0, 2.5]]
    K = np.float32([[220, 0, size[0] / 2], [0, 220, size[1] / 2], [0, 0, 1]])
    bases = np.tile(se3.IDENTITY.astype(np.float32), (1, 3, 1))
    still = Performance("base", bases, 24.0, np.tile(K, (3, 1, 1)), np.tile(w2c, (3, 1, 1)), size)
    nothing = Gaussians(**{k: v[:0] for k, v in vars(subject).items()})
    index, weight = np.zeros((n, 1), np.uint16), np.ones((n, 1), np.float32)
    return Puppet(subject, index, weight, [still], nothing)


def read_mask(puppet):
    first = puppet.performances[0]
    dark, light = (
        next(iter(render_performance(puppet, first, [0], None, (grey,) * 3))).astype(int)
        for grey in (0.0, 1.0)
    )
    return 255 - (light - dark).mean(2) > 127


@pytest.fixture(scope="module")
def fawn():
    puppet = build(FAWN)
    return replace(puppet, body=find_body_parts(puppet, read_mask(puppet)))


def find_skeleton(puppet, head=None):
    skeleton = find_or_none(puppet, head)
    assert skeleton is not None
    return skeleton


def find_bone(skeleton, name):
    return skeleton.bones[[b.name for b in skeleton.bones].index(name)]


def test_the_plan_is_laid_onto_the_gaussians(fawn):
    kinds = [part.kind for part in fawn.body]
    assert sorted(kinds) == ["head", "leg", "leg", "leg", "leg", "tail"]
    head = fawn.body[kinds.index("head")]
    assert np.linalg.norm(np.subtract(head.tip, (0.56, 0, 0.66))) < 0.08  # the muzzle, not an ear
    assert np.linalg.norm(np.subtract(head.joint, (0.26, 0, 0.55))) < 0.1
    tail = fawn.body[kinds.index("tail")]
    assert np.linalg.norm(np.subtract(tail.tip, (-0.52, 0, 0.6))) < 0.06
    feet = np.array([part.tip for part in fawn.body if part.kind == "leg"])
    for _, foot, _ in FAWN[6:10]:
        assert np.linalg.norm(feet[:, [0, 2]] - np.array(foot)[[0, 2]], axis=1).min() < 0.06


def test_the_neck_carries_skull_and_ears(fawn):
    skeleton = find_skeleton(fawn)
    names = [b.name for b in skeleton.bones]
    assert {"neck", "head", "ear.L", "ear.R", "tail_3"} <= set(names)
    assert sum(name.startswith("leg_") and "_lower" in name for name in names) == 4
    head, neck = (find_bone(skeleton, name) for name in ("head", "neck"))
    assert np.linalg.norm(head.tail - (0.56, 0, 0.66)) < 0.08
    assert skeleton.bones[head.parent].name == "neck"
    assert neck.head[2] < 0.6 < head.head[2]
    carried = [names.index(x) for x in ("head", "ear.L", "ear.R", "neck")]
    share = np.where(np.isin(skeleton.index, carried), skeleton.weight, 0).sum(1)
    means = fawn.subject.means
    assert share[means[:, 2] > 0.72].min() > 0.99  # ears and the skull's upper half
    assert share[means[:, 0] > 0.45].min() > 0.99  # the muzzle
    assert share[means[:, 0] < 0.1].max() < 0.05


def test_a_person_s_head_is_no_arm():
    puppet = build(PERSON)
    puppet.body = find_body_parts(puppet, read_mask(puppet))
    skeleton = find_skeleton(puppet)
    head = find_bone(skeleton, "head")
    assert np.linalg.norm(head.tail - (0, 0, 1.03)) < 0.06
    tips = {b.name: b.tail for b in skeleton.bones if b.name.endswith(("lower.L", "lower.R"))}
    assert {name.split("_")[0] for name in tips} == {"arm", "leg"}
    assert len(tips) == 4
    for name, tip in tips.items():
        assert abs(abs(tip[0]) - (0.42 if name.startswith("arm") else 0.1)) < 0.07, name
    chest = [i for i, b in enumerate(skeleton.bones) if b.name == "chest"]
    share = np.where(np.isin(skeleton.index, chest), skeleton.weight, 0).sum(1)
    torso = np.linalg.norm(puppet.subject.means - (0, 0, 0.7), axis=1) < 0.12
    assert share[torso].mean() > 0.7  # the shoulders do not turn with the head


def test_a_puppet_without_a_mask_has_no_plan(fawn):
    assert find_body_parts(fawn, np.zeros((144, 192), bool)) == []


def test_body_parts_travel_in_the_file(fawn, tmp_path):
    fawn.save(tmp_path / "a.puppet")
    assert Puppet.load(tmp_path / "a.puppet").body == fawn.body
    replace(fawn, body=[]).save(tmp_path / "b.puppet")
    assert Puppet.load(tmp_path / "b.puppet").body == []


@pytest.mark.parametrize(
    "broken",
    [
        {"kind": "wing"},
        {"tip": [0, 1]},
        {"tip": [0, 1, True]},
        {"joint": [0, 1, "x"]},
        {"joint": None},
        {"tip": [0, 0, 10**400]},
    ],
)
def test_a_broken_part_is_refused(fawn, tmp_path, broken):
    path = tmp_path / "a.puppet"
    fawn.save(path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["restage4d.puppet"])
    about["body"][0] |= broken
    header["__metadata__"]["restage4d.puppet"] = json.dumps(about)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(InputError):
        Puppet.load(path)


def test_a_part_in_other_units():
    part = BodyPart("leg", (1.0, 2.0, 3.0), (0.0, -1.0, 0.5))
    assert part.scaled(2.0) == BodyPart("leg", (2.0, 4.0, 6.0), (0.0, -2.0, 1.0))


def test_a_click_on_the_head_overrules_the_plan_and_becomes_it(fawn):
    """The plan that is kept finds the clicked skeleton again."""
    turned = find_skeleton(fawn, head=np.array([-0.5, 0.0, 0.6]))
    assert find_bone(turned, "head").tail[0] < -0.4
    again = find_skeleton(replace(fawn, body=list_parts(turned)))
    assert np.linalg.norm(find_bone(again, "head").tail - find_bone(turned, "head").tail) < 0.05
    legs = [b.name for b in turned.bones if b.part.startswith("leg")]
    assert [b.name for b in again.bones if b.part.startswith("leg")] == legs
