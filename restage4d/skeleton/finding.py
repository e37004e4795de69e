"""Finds the skeleton of a puppet by its shape in the canonical frame: what sticks out becomes
limbs, neck and head, tail; what is left becomes hips and chest. Deterministic; numpy only."""

from dataclasses import replace

import numpy as np

from restage4d.puppet import Puppet
from restage4d.se3 import Array
from restage4d.skeleton.body_parts import BodyPart, Kind, to_place
from restage4d.skeleton.branches import Branch, find_limbs
from restage4d.skeleton.heads import (
    find_ears,
    find_head_on_top,
    find_muzzle,
    find_skull,
    stands_on_top,
)
from restage4d.skeleton.known_parts import grow_branches
from restage4d.skeleton.naming import Body, Part, is_body, is_upright, name_limbs
from restage4d.skeleton.shape import Ints, Shape, find_shape
from restage4d.skeleton.skeleton import Bone, Skeleton
from restage4d.skeleton.skinning import skin

_BEND = 0.21  # radians (12 degrees): a limb bent less has its joint in the middle
_FEWEST = 300  # Gaussians that have a shape
_SHORTEST = 0.5  # cells, of a bone
_TAIL = 3  # bones of a tail
_ANKLE = 0.45  # of the way from the joint to the tip of a leg: there the foot begins
_SHORTEST_FOOT = 1.2  # cells
_FIRM = 0.5  # of a foot's length counts for its blend: a sole that is held is all its own
_NECK = 0.25  # of the way to the muzzle: with less before the skull there is no neck


def find_skeleton(puppet: Puppet, head: Array | None = None) -> Skeleton | None:
    """The skeleton of a puppet, None where nothing sticks out that could be posed.

    Args:
        head: (3,) a canonical place that a person says is on the head; overrules the shape.

    Example:
        >>> skeleton = find_skeleton(puppet)
        >>> [bone.name for bone in skeleton.bones][:4]
        ['hips', 'chest', 'neck', 'head']
    """
    if len(puppet.subject) < _FEWEST:
        return None
    shape = find_shape(puppet)
    known = grow_branches(shape, puppet.body)
    seen = [branch for _, branch in known]
    kinds: dict[int, Kind] = {id(branch): part.kind for part, branch in known}
    if head is not None:  # a person knows better
        kinds = {i: "leg" if kind == "leg" else "limb" for i, kind in kinds.items()}
    limbs = seen + find_limbs(shape, seen)
    if head is None and "head" not in kinds.values() and is_upright(shape, limbs, kinds):
        aside = [x for x in seen if not stands_on_top(shape, x)]
        top = find_head_on_top(shape, aside)
        if top is not None:
            kinds[id(top)] = "head"
            limbs = [*aside, top, *find_limbs(shape, [*aside, top])]
    w2c = puppet.performances[0].w2c[0].astype(np.float64)
    camera = -w2c[:3, :3].T @ w2c[:3, 3]
    body = name_limbs(shape, limbs, camera, _find_way(puppet), head, kinds)
    if not is_body(body):
        return None
    bones, label = _build_bones(shape, body)
    bones = [_lengthen(bone, _SHORTEST * shape.size) for bone in bones]
    lengths = np.array([bone.length * (_FIRM if "_foot" in bone.name else 1) for bone in bones])
    return Skeleton(bones, *skin(puppet, shape, label, lengths), body.is_named)


def list_parts(skeleton: Skeleton) -> list[BodyPart]:
    """Head, tail and limbs of a skeleton as the ``.puppet`` file has them, so that the same
    skeleton is found again."""
    ends: dict[str, list[Bone]] = {}
    for bone in skeleton.bones:
        if bone.part != "torso" and not bone.name.startswith("ear."):
            ends.setdefault(bone.part, []).append(bone)
    kinds: dict[str, Kind] = {"head": "head", "tail": "tail", "leg": "leg"}
    return [
        BodyPart(
            kinds.get(part.partition("_")[0].partition(".")[0], "limb"),
            to_place(bones[0].head),
            to_place(bones[-1].tail),
        )
        for part, bones in ends.items()
    ]


def _lengthen(bone: Bone, least: float) -> Bone:
    """A bone of some length, so that it has a direction."""
    if bone.length >= least:
        return bone
    along = bone.tail - bone.head + np.array([0.0, 0.0, 1e-6])
    return replace(bone, tail=bone.head + along / np.linalg.norm(along) * least)


def _find_way(puppet: Puppet) -> Array:  # -> (3,)
    """How far the subject's middle goes in the world, all performances together."""
    ends = [
        puppet.pose(p, p.n_frames - 1).means.mean(0) - puppet.pose(p, 0).means.mean(0)
        for p in puppet.performances
    ]
    return np.asarray(np.sum(ends, axis=0, dtype=np.float64))


def _build_bones(shape: Shape, body: Body) -> tuple[list[Bone], Ints]:
    """Bones and which one each cell belongs to."""
    label = np.zeros(len(shape), np.intp)
    bones = _build_torso(shape, body, label)
    order = {"head": 0, "tail": 1, "arm": 2, "leg": 3, "limb": 4}
    for part in sorted(body.parts, key=lambda p: order[p.kind]):
        if part.kind == "head":
            _add_head(bones, label, part, shape, body)
        else:
            _add_chain(bones, label, part, _choose_parent(bones, part, body), shape.size)
    return bones, label


def _choose_parent(bones: list[Bone], part: Part, body: Body) -> int:
    """Hips, 0, or chest, 1: by what the part is, else by which is nearer."""
    if body.is_named and part.kind in ("leg", "tail", "arm"):
        return int(part.kind == "arm" or part.name.startswith("leg_front"))
    middles = [0.5 * (bone.head + bone.tail) for bone in bones[:2]]
    return int(np.argmin([np.linalg.norm(part.branch.line[0] - m) for m in middles]))


def _build_torso(shape: Shape, body: Body, label: Ints) -> list[Bone]:
    """Hips and chest: the trunk's hind half and front half, or lower and upper one."""
    trunk = np.ones(len(shape), bool)
    for part in body.parts:
        trunk &= ~part.branch.cells
    if trunk.sum() < 20:
        trunk[:] = True
    axis = np.array([0.0, 0.0, 1.0]) if body.upright else body.forward
    places = shape.places[trunk]
    way = places @ axis
    levels = np.quantile(way, [0.08, 0.5, 0.92])
    width = 0.15 * (levels[2] - levels[0])
    points = [places[np.abs(way - level) <= width].mean(0) for level in levels]
    heads = [p.branch.line[0] for p in body.parts if p.kind == "head"]
    if heads:
        points[2] = heads[0]
    label[shape.places @ axis > levels[1]] = 1
    return [
        Bone("hips", points[0], points[1], -1, "torso"),
        Bone("chest", points[1], points[2], 0, "torso"),
    ]


def _add_head(bones: list[Bone], label: Ints, part: Part, shape: Shape, body: Body) -> None:
    """Neck and head, and ears on the head. The head's bone goes to the muzzle, not to an ear."""
    cells, start = part.branch.cells, part.branch.line[0]
    end = part.branch.line[-1] if body.upright else find_muzzle(shape, cells, body.forward)
    skull, radius = find_skull(shape, cells, start, end)
    way = skull - start
    long = float(np.linalg.norm(way))
    neck = long - radius
    begin = start
    if neck > _NECK * (long + float(np.linalg.norm(end - skull))):
        begin = start + way / long * neck
        bones.append(Bone("neck", start, begin, 1, "head"))
        label[cells] = len(bones) - 1
        cells = cells & ((shape.places - begin) @ way > 0)
    above = len(bones) - 1 if bones[-1].name == "neck" else 1
    bones.append(Bone("head", begin, end, above, "head"))
    mine = len(bones) - 1
    label[cells] = mine
    left = np.array([-body.forward[1], body.forward[0], 0.0])
    ears = find_ears(shape, part.branch, skull, end)
    ears = sorted(ears, key=lambda x: -float(x.line.mean(0) @ left))
    for ear, side in zip(ears, "LR" if len(ears) == 2 else "", strict=False):
        bones.append(Bone(f"ear.{side}", ear.line[0], ear.line[-1], mine, "head"))
        label[ear.cells] = len(bones) - 1


def _add_chain(bones: list[Bone], label: Ints, part: Part, parent: int, size: float) -> None:
    """A limb of two bones, a leg with a foot below them, or a tail of `_TAIL`."""
    branch = part.branch
    stem, dot, side = part.name.partition(".")
    if part.kind == "tail":
        cuts = [i / _TAIL for i in range(_TAIL + 1)]
        names = [f"tail_{i + 1}" for i in range(_TAIL)]
    else:
        cuts, pieces = [0.0, find_bend(branch), 1.0], ["upper", "lower"]
        ankle = cuts[1] + _ANKLE * (1.0 - cuts[1])
        if part.kind == "leg" and (1.0 - ankle) * branch.length > _SHORTEST_FOOT * size:
            cuts, pieces = [0.0, cuts[1], ankle, 1.0], ["upper", "lower", "foot"]
        names = [f"{stem}_{piece}{dot}{side}" for piece in pieces]
    last = len(branch.line) - 1
    joints = [branch.line[round(c * last)] for c in cuts]
    for i, name in enumerate(names):
        above = parent if i == 0 else len(bones) - 1
        is_limb = part.kind != "tail" and i < 2
        bones.append(Bone(name, joints[i], joints[i + 1], above, part.name, is_limb))
        label[branch.cells & (branch.along >= cuts[i] * branch.length)] = len(bones) - 1


def find_bend(branch: Branch) -> float:
    """Where along it, 0 to 1, a limb is bent most; the middle of a straight one. Both halves have a
    third of its cells at least, so that no bone is left to a few stray ones at the tip."""
    line, count = branch.line, len(branch.line)
    share = branch.along[branch.cells] / branch.length
    low, high = (float(x) for x in np.quantile(share, [0.35, 0.65]))
    best, angle = min(max(0.5, low), high), _BEND
    for i in range(1, count - 1):
        if not low <= i / (count - 1) <= high:
            continue
        upper, lower = line[i] - line[0], line[-1] - line[i]
        cosine = upper @ lower / max(float(np.linalg.norm(upper) * np.linalg.norm(lower)), 1e-12)
        bend = float(np.arccos(np.clip(cosine, -1, 1)))
        if bend > angle:
            best, angle = i / (count - 1), bend
    return best
