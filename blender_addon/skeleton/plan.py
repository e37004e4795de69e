# SPDX-License-Identifier: GPL-3.0-or-later
"""What bones a body rig is made of, and what each is keyed with. numpy only.

Every bone of the skeleton is there three times. A *captured* one is keyed with how the bone's
points moved, relative to its captured parent, and nobody moves it. A *follower* has the same keys
and hangs on the parent's control; below it is the *control*, which has no keys and is the artist's.
So control times inverse captured is what the artist changed: exactly nothing at first, at every
moment and in every blend of Actions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from restage4d import se3
from restage4d.puppet import Performance, Puppet
from restage4d.se3 import Array
from restage4d.skeleton.motion import Motion, compute_motion, find_bend_axis, find_sole
from restage4d.skeleton.skeleton import Skeleton

from ..puppet import bone_curves
from ..puppet.rig import CONTROL, FOLLOWER, REGION, ROLE, WHOLE, Bone

Add = Callable[..., str]  # bone, its motion, and within which
PART = "restage4d_part"  # a bone's: the part of the body it belongs to
LIMB = "restage4d_limb"  # of a limb's IK control, pole and end: which limb
FOOT = "restage4d_foot"  # of a foot: which limb it is below
_OWN = 0.5  # of a point's skin weights: the bone's own
CAPTURED, IK, POLE, END = "captured", "ik", "pole", "end"  # roles beside those of `rig`


@dataclass(frozen=True)
class Keyed:
    """What keys a bone: which motion, within which other one."""

    motion: tuple[str, int]
    within: tuple[str, int] | None


@dataclass(frozen=True)
class BodyPlan:
    """Bones, parents first, and the keys of those that have any, by name."""

    skeleton: Skeleton
    bones: list[Bone]
    keyed: dict[str, Keyed]

    def list_own(self) -> list[str]:
        """Keyed bones that are the skeleton's, not those of the bases."""
        return [name for name, keyed in self.keyed.items() if keyed.motion[0] != "basis"]


def split_name(part: str) -> tuple[str, str]:
    """Stem and side: "leg_front.L" gives "leg_front" and ".L"."""
    stem, dot, side = part.partition(".")
    return stem, dot + side


def plan_body(
    puppet: Puppet, skeleton: Skeleton, bases: list[Bone], middle: Array, around: float
) -> BodyPlan:
    """The rig of a body.

    Args:
        bases: the bones of the motion bases, whose keys are the bases themselves.
        middle, around: where the control of the whole subject stands, and how large it is.
    """
    bones: list[Bone] = []
    keyed: dict[str, Keyed] = {}

    def add(
        bone: Bone, motion: tuple[str, int] | None = None, within: tuple[str, int] | None = None
    ) -> str:
        bones.append(bone)
        if motion is not None:
            keyed[bone.name] = Keyed(motion, within)
        return bone.name

    whole = ("whole", 0)
    about = {REGION: WHOLE, PART: "root"}
    kept = {"root captured": {ROLE: CAPTURED}, "root follows": {ROLE: FOLLOWER}}
    for name, more in kept.items():
        add(Bone(name, middle, 0.3 * around, None, about | more), whole)
    root = add(Bone("root", middle, around, "root follows", about | {ROLE: CONTROL}))
    axes = _find_axes(skeleton)
    feet = {skeleton.find_foot(lower): lower for _, lower in skeleton.find_limbs()}
    for s, bone in enumerate(skeleton.bones):
        parent = skeleton.bones[bone.parent].name if bone.parent >= 0 else root
        within = ("bone", bone.parent) if bone.parent >= 0 else whole
        about = {REGION: s, PART: bone.part} | ({FOOT: feet[s]} if s in feet else {})
        shape = Bone("", bone.head, bone.length, None, {}, bone.tail, axes[s])
        over = f"{parent} captured"
        for name, above, role in (
            (f"{bone.name} captured", over, CAPTURED),
            (f"{bone.name} follows", parent, FOLLOWER),
        ):
            mine = replace(shape, name=name, parent=above, about=about | {ROLE: role})
            add(mine, ("bone", s), within)
        parent = f"{bone.name} follows"
        add(replace(shape, name=bone.name, parent=parent, about=about | {ROLE: CONTROL}))
    for upper, lower in skeleton.find_limbs():
        sole = find_sole(skeleton, puppet, lower)
        _plan_limb(skeleton, upper, lower, sole, root, axes, add)
    for k, bone in enumerate(bases):
        add(replace(bone, parent=None), ("basis", k))
    return BodyPlan(skeleton, bones, keyed)


def _plan_limb(
    skeleton: Skeleton, upper: int, lower: int, sole: Array, root: str, axes: list[Array], add: Add
) -> None:
    """A limb's end, which the inverse kinematics brings to its control, and its pole."""
    bone = skeleton.bones[lower]
    stem, side = split_name(bone.part)
    limb = {PART: bone.part, LIMB: lower}
    back = sole - 0.25 * (bone.tail - bone.head)
    end = Bone(f"{stem}_end{side}", back, 1.0, bone.name, limb | {ROLE: END}, sole, axes[lower])
    add(end, ("tip", lower), ("bone", lower))
    reach = skeleton.bones[upper].length + bone.length
    start = skeleton.bones[upper].head
    pole = 0.5 * (start + sole) + reach * find_bend_axis(skeleton, upper, lower)
    for kind, place, role, motion in (
        ("ik", sole, IK, "tip"),
        ("pole", pole, POLE, "pole"),
    ):
        name = f"{stem}_{kind}{side}"
        follower = Bone(f"{name} follows", place, 0.05 * reach, root, limb | {ROLE: FOLLOWER})
        add(follower, (motion, lower), ("whole", 0))
        mine = Bone(name, place, 0.2 * reach, f"{name} follows", limb | {ROLE: role})
        add(mine)


def _find_axes(skeleton: Skeleton) -> list[Array]:
    """The x axis of each bone: of limbs to where the joint points, else to the side."""
    axes = []
    limbs = {i: pair for pair in skeleton.find_limbs() for i in pair}
    for s, bone in enumerate(skeleton.bones):
        along = (bone.tail - bone.head) / max(bone.length, 1e-9)
        wanted = [np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])]
        if s in limbs:
            axes.append(find_bend_axis(skeleton, *limbs[s]))
            axes[-1] = axes[-1] - (axes[-1] @ along) * along
        else:  # z up as far as it goes, so that x is to the side
            up = max(wanted, key=lambda v: float(np.linalg.norm(np.cross(v, along))))
            axes.append(np.cross(along, up - (up @ along) * along))
        axes[-1] /= max(float(np.linalg.norm(axes[-1])), 1e-9)
    return axes


def find_few(names: Iterable[str]) -> dict[str, str]:
    """Of a skeleton's keyed bones, which all get few smooth keys: whose keys each gets. Followers
    get those of their captured bones, so that an untouched skeleton moves nothing all the same."""
    known = set(names)
    captured = {name: name.removesuffix(" follows") + " captured" for name in known}
    return {name: twin if twin in known else name for name, twin in captured.items()}


def list_own_places(skeleton: Skeleton, means: Array) -> dict[str, Array]:  # (N, 3)
    """Of each captured bone the points at rest that it moves most and by more than half."""
    main = np.where(skeleton.weight[:, 0] > _OWN, skeleton.index[:, 0].astype(np.intp), -1)
    named = enumerate(skeleton.bones)
    return {f"{bone.name} captured": means[main == s].astype(float) for s, bone in named}


def list_soles(skeleton: Skeleton) -> set[str]:
    """The keyed bones of what may stand: of each limb the foot, or the lower bone where there is
    none, the control of its inverse kinematics, and the end that goes there."""
    out = set()
    for _, lower in skeleton.find_limbs():
        foot = skeleton.find_foot(lower)
        stem, side = split_name(skeleton.bones[lower].part)
        out |= {f"{stem}_ik{side} follows", f"{stem}_end{side}"}
        out.add(f"{skeleton.bones[lower if foot is None else foot].name} captured")
    return out


def compute_channels(
    body: BodyPlan, puppet: Puppet, performance: Performance, *, rest: Mapping[str, Array]
) -> dict[str, tuple[Array, Array]]:  # name -> (T, 3), (T, 4)
    """Location and quaternion keys of every keyed bone, see `bone_curves.channels`."""
    near = puppet.performances[0].bases[:, :1]
    motions, before = (
        dict(compute_motions(body, puppet, bases)) for bases in (performance.bases, near)
    )
    return bone_curves.key_motions(motions, before, rest)


def compute_motions(
    body: BodyPlan, puppet: Puppet, bases: Array
) -> Iterator[tuple[str, Array]]:  # (K, T, 9)
    moved = compute_motion(body.skeleton, puppet, bases)
    T = np.tile(np.eye(4), (*bases.shape[:2], 1, 1))
    T[..., :3, :3] = se3.gram_schmidt(bases[..., :6].astype(np.float64))
    T[..., :3, 3] = bases[..., 6:]
    for name, keyed in body.keyed.items():
        own = _find_motion(body, moved, T, keyed.motion)
        if keyed.within is not None:
            own = bone_curves.inverse(_find_motion(body, moved, T, keyed.within)) @ own
        yield name, own


def _find_motion(body: BodyPlan, moved: Motion, T: Array, what: tuple[str, int]) -> Array:
    kind, i = what
    if kind == "whole":
        return moved.whole
    if kind == "bone":
        return moved.bones[i]
    if kind == "tip":
        return moved.tips[i]
    if kind == "basis":
        return T[i]
    out = np.tile(np.eye(4), (T.shape[1], 1, 1))  # a pole is carried without turning
    name = "_pole".join(split_name(body.skeleton.bones[i].part))
    out[:, :3, 3] = moved.poles[i] - next(b.head for b in body.bones if b.name == name)
    return out
