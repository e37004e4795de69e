"""Bones of the creature and forward kinematics. Numpy only.

A rotation of a bone is a turn of the rest pose about axes that are the world's in the rest pose (x
forward, y left, z up) and that ride along with the parent, so a pose reads the same for every bone,
whichever way it points.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Bone:
    name: str
    parent: str | None
    head: tuple[float, float, float]
    tail: tuple[float, float, float]


def _chain(names: list[str], parent: str, joints: list[tuple[float, float, float]]) -> list[Bone]:
    parents = [parent, *names[:-1]]
    return [
        Bone(n, p, a, b) for n, p, a, b in zip(names, parents, joints[:-1], joints[1:], strict=True)
    ]


def _side(joints: list[tuple[float, float, float]], sign: int) -> list[tuple[float, float, float]]:
    return [(x, sign * y, z) for x, y, z in joints]


FRONT = [
    (0.150, 0.072, 0.390),
    (0.118, 0.078, 0.265),
    (0.150, 0.076, 0.105),
    (0.150, 0.076, 0.036),
    (0.205, 0.076, 0.026),
]
HIND = [
    (-0.195, 0.068, 0.390),
    (-0.145, 0.084, 0.270),
    (-0.262, 0.082, 0.150),
    (-0.240, 0.082, 0.036),
    (-0.185, 0.082, 0.026),
]

BONES: list[Bone] = [
    Bone("root", None, (0.0, 0.0, 0.0), (0.2, 0.0, 0.0)),
    Bone("pelvis", "root", (-0.10, 0.0, 0.42), (-0.24, 0.0, 0.42)),
    *_chain(["spine", "chest"], "root", [(-0.10, 0.0, 0.42), (0.04, 0.0, 0.42), (0.19, 0.0, 0.44)]),
    *_chain(
        ["neck1", "neck2"], "chest", [(0.19, 0.0, 0.44), (0.235, 0.0, 0.535), (0.28, 0.0, 0.63)]
    ),
    Bone("head", "neck2", (0.28, 0.0, 0.63), (0.48, 0.0, 0.62)),
    Bone("jaw", "head", (0.36, 0.0, 0.60), (0.47, 0.0, 0.585)),
    *_chain(
        ["tail1", "tail2", "tail3", "tail4"],
        "pelvis",
        [
            (-0.27, 0.0, 0.43),
            (-0.37, 0.0, 0.425),
            (-0.475, 0.0, 0.45),
            (-0.57, 0.0, 0.515),
            (-0.635, 0.0, 0.60),
        ],
    ),
]
for _s, _sign in (("L", 1), ("R", -1)):
    BONES += _chain(
        [f"ear1.{_s}", f"ear2.{_s}"],
        "head",
        _side([(0.272, 0.068, 0.745), (0.258, 0.110, 0.845), (0.245, 0.150, 0.945)], _sign),
    )
    BONES += _chain(
        [f"arm.{_s}", f"forearm.{_s}", f"pastern.{_s}", f"paw.{_s}"], "chest", _side(FRONT, _sign)
    )
    BONES += _chain(
        [f"thigh.{_s}", f"shin.{_s}", f"hock.{_s}", f"foot.{_s}"], "pelvis", _side(HIND, _sign)
    )

INDEX = {bone.name: i for i, bone in enumerate(BONES)}
HEADS = np.array([bone.head for bone in BONES])
TAILS = np.array([bone.tail for bone in BONES])


def turn(roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> Array:  # -> (3, 3)
    """Rotation by ``roll`` about x, then ``pitch`` about y (> 0: nose down), then ``yaw`` about z
    (> 0: left). Radians."""
    cr, sr, cp, sp, cy, sy = (
        np.cos(roll),
        np.sin(roll),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(yaw),
        np.sin(yaw),
    )
    rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return rz @ ry @ rx


class Pose:
    """World rotation R (3, 3) and head position of every bone; `set` fills them from the root
    outwards."""

    def __init__(self) -> None:
        self.R = np.tile(np.eye(3), (len(BONES), 1, 1))
        self.at = HEADS.copy()

    def set(
        self,
        name: str,
        local: Array | None = None,
        world: Array | None = None,
        at: Array | None = None,
    ) -> None:
        """Turns a bone by ``local`` against its parent, or to ``world``; ``at`` moves its head,
        which else hangs on."""
        i = INDEX[name]
        parent = BONES[i].parent
        j = INDEX[parent] if parent else i
        over = self.R[j] if parent else np.eye(3)
        self.R[i] = world if world is not None else over @ (np.eye(3) if local is None else local)
        self.at[i] = (
            at
            if at is not None
            else (self.at[j] + over @ (HEADS[i] - HEADS[j]) if parent else HEADS[i])
        )

    def point(self, name: str, rest: Array) -> Array:
        """Where the rest-pose point ``rest`` of a bone is now."""
        i = INDEX[name]
        return self.at[i] + self.R[i] @ (np.asarray(rest) - HEADS[i])

    def matrices(self) -> Array:  # -> (B, 4, 4)
        """Per bone the rigid motion from the rest pose."""
        out = np.tile(np.eye(4), (len(BONES), 1, 1))
        out[:, :3, :3] = self.R
        out[:, :3, 3] = self.at - np.einsum("bij,bj->bi", self.R, HEADS)
        return out


def frame(direction: Array, side: Array) -> Array:  # (3,), (3,) -> (3, 3)
    """Right-handed frame with its first axis along ``direction`` and its second as near to ``side``
    as can be."""
    x = direction / np.linalg.norm(direction)
    y = side - (side @ x) * x
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], 1)


def reach(pose: Pose, upper: str, lower: str, target: Array, body: Array) -> None:
    """Two-bone inverse kinematics: the tail of ``lower`` goes to ``target``, the joint bends the
    way it does in the rest pose.

    ``body`` (3, 3) is the body's rotation, which carries that way along. A target out of reach is
    approached softly: the limb is never quite straight, so the joint does not snap.
    """
    i, j = INDEX[upper], INDEX[lower]
    rest_upper, rest_lower = HEADS[j] - HEADS[i], TAILS[j] - HEADS[j]
    a, b = float(np.linalg.norm(rest_upper)), float(np.linalg.norm(rest_lower))
    pose.set(upper)
    hip = pose.at[i]
    d = float(np.linalg.norm(target - hip))
    u = (target - hip) / d
    d = max(_soft_limit(d, 0.977 * (a + b), 0.998 * (a + b)), abs(a - b) + 1e-4)
    hinge = np.cross(rest_upper, rest_lower)
    bend = np.cross(u, body @ hinge)
    bend = bend / np.linalg.norm(bend)
    normal = np.cross(bend, u)
    along = (a * a - b * b + d * d) / (2 * d)
    knee = hip + along * u + np.sqrt(max(a * a - along * along, 0.0)) * bend
    pose.set(upper, world=frame(knee - hip, normal) @ frame(rest_upper, hinge).T)
    pose.set(lower, world=frame(hip + d * u - knee, normal) @ frame(rest_lower, hinge).T)


def _soft_limit(x: float, knee: float, limit: float) -> float:
    """``x`` up to ``knee``, then bending over (C1) towards ``limit``."""
    return x if x <= knee else limit - (limit - knee) * np.exp((knee - x) / (limit - knee))
