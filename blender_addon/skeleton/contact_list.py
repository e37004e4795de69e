# SPDX-License-Identifier: GPL-3.0-or-later
"""The contacts of a puppet's performances, kept in a custom property of its armature."""

import json
from dataclasses import asdict, dataclass

import bpy

KEY = "restage4d_contacts"


@dataclass(frozen=True)
class Contact:
    """A foot or hand that stands.

    Attributes:
        performance: its name.
        part: of the body, "leg_front.L".
        control: the name of the limb's IK control.
        first, last: scene frames.
        place: (x, y, z) in the armature's space.
        is_locked: whether inverse kinematics holds it.
        miss: by how much of the subject's extent the limb is too short to reach the place, at the
            worst frame; 0 where it reaches.
    """

    performance: str
    part: str
    control: str
    first: int
    last: int
    place: tuple[float, float, float]
    is_locked: bool = False
    miss: float = 0.0


def read_contacts(armature: bpy.types.Object, performance: str | None = None) -> list[Contact]:
    """All contacts, or those of one performance, in their order of time."""
    records = json.loads(armature.get(KEY, "[]"))
    found = [Contact(**{**r, "place": tuple(r["place"])}) for r in records]
    mine = [c for c in found if performance in (None, c.performance)]
    return sorted(mine, key=lambda c: (c.first, c.part))


def write_contacts(armature: bpy.types.Object, contacts: list[Contact]) -> None:
    """Replaces all contacts."""
    armature[KEY] = json.dumps([asdict(c) for c in contacts])
