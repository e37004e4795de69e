"""A body's skeleton as values: bones in a hierarchy, and how they move the subject's points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.puppet import F32
from restage4d.se3 import Array


@dataclass(frozen=True)
class Bone:
    """A bone at rest, in the canonical frame.

    Attributes:
        name: as riggers expect it where the body is known ("head", "leg_front_upper.L"), else
            neutral ("limb_1_upper").
        head, tail: (3,) world units.
        parent: index of the parent, -1 for the first.
        part: what it belongs to: "torso", "head", "tail", "leg_front.L", "arm.R", "limb_1" ...
        is_limb: whether it is one of the two bones of a leg, an arm or an unknown limb that reach;
            a foot is not.
    """

    name: str
    head: Array
    tail: Array
    parent: int
    part: str
    is_limb: bool = False

    @property
    def length(self) -> float:
        return float(np.linalg.norm(self.tail - self.head))


@dataclass(frozen=True)
class Skeleton:
    """Bones, parents before children, and the skin.

    Attributes:
        bones: S bones; the first is the root of all.
        index, weight: (N, 4) bones that move each point, and how much; rows sum to 1.
        is_named: whether head and tail are known, so that names say what a part is.
    """

    bones: list[Bone]
    index: NDArray[np.uint16]
    weight: F32
    is_named: bool

    def find_limbs(self) -> list[tuple[int, int]]:
        """(upper, lower) of every limb."""
        pairs = [(b.parent, i) for i, b in enumerate(self.bones) if b.is_limb]
        return [(p, i) for p, i in pairs if self.bones[p].is_limb]

    def find_foot(self, lower: int) -> int | None:
        """The foot below a leg's lower bone, if it has one."""
        for i, bone in enumerate(self.bones):
            if bone.parent == lower and bone.part == self.bones[lower].part:
                return i
        return None
